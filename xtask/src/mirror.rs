//! The Debian mirror that this machine uses, what its suites hold, and how a
//! file comes from it.
//!
//! No mirror's address is written here: apt is asked, and where apt knows no
//! Debian (on Ubuntu), the packaged script of mmdebstrap is.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::program::{self, ProgramError};

/// Names another mirror, when neither apt nor mmdebstrap knows one.
pub(crate) const MIRROR_VARIABLE: &str = "GREY_DEBIAN_MIRROR";

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    /// Nobody knows a mirror.
    #[error("no Debian mirror is known on this machine; name one in {MIRROR_VARIABLE}")]
    Unknown,
    /// apt, curl or xz failed.
    #[error("failed to {doing}")]
    Program {
        doing: String,
        #[source]
        source: ProgramError,
    },
    /// A file in the cache cannot be read or written.
    #[error("failed to {doing} `{path}`")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// What came is not what was pinned.
    #[error("`{path}` has sha256 {found}, but {expected} is pinned")]
    Checksum {
        path: PathBuf,
        found: String,
        expected: String,
    },
}

/// What a suite's index says of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) file: String,
    pub(crate) sha256: String,
}

/// The address that suites' `dists` and `pool` folders are below; ends in `/`.
///
/// # Errors
/// When none is known.
pub(crate) fn address() -> Result<String, MirrorError> {
    if let Ok(address) = std::env::var(MIRROR_VARIABLE) {
        return Ok(with_slash(&address));
    }
    let listed = program::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(ORIGIN)",
        "Created-By: Packages",
    ]));
    if let Some(address) = listed.ok().as_deref().and_then(from_apt) {
        return Ok(address);
    }
    let script = fs::read_to_string("/usr/bin/mmdebstrap").unwrap_or_default();
    from_mmdebstrap(&script).ok_or(MirrorError::Unknown)
}

/// The Debian mirror among the lines `ADDRESS SUITE ORIGIN`: not that of the
/// security suite, which holds less. The origin is empty where apt has no lists
/// yet; there, the address itself must say that it is Debian's.
fn from_apt(listed: &str) -> Option<String> {
    listed
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find_map(|fields| match fields.as_slice() {
            [address, suite, origin] if !suite.contains('-') => {
                let address = with_slash(address);
                let is_debian =
                    *origin == "Debian" || (origin.is_empty() && address.ends_with("/debian/"));
                is_debian.then_some(address)
            }
            _ => None,
        })
}

/// The default in the line `my $mirror = '...';` of mmdebstrap.
fn from_mmdebstrap(script: &str) -> Option<String> {
    script
        .lines()
        .find_map(|line| line.trim().strip_prefix("my $mirror"))
        .and_then(|rest| rest.split('\'').nth(1))
        .map(with_slash)
}

fn with_slash(address: &str) -> String {
    format!("{}/", address.trim_end_matches('/'))
}

/// Everything in a suite's main index whose package name passes.
///
/// # Errors
/// When the index does not come.
pub(crate) fn index(
    suite: &str,
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<IndexEntry>, MirrorError> {
    let packed = folder.join(format!("Packages-{suite}.xz"));
    let file = format!("dists/{suite}/main/binary-amd64/Packages.xz");
    download(&file, &packed)?;
    let text = program::output(Command::new("xz").arg("-dc").arg(&packed)).map_err(|source| {
        MirrorError::Program {
            doing: format!("unpack the index of {suite}"),
            source,
        }
    })?;
    Ok(parse_index(&text, wanted))
}

fn parse_index(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<IndexEntry> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            let package = field("Package").filter(|package| wanted(package))?;
            Some(IndexEntry {
                package: package.to_owned(),
                version: field("Version")?.to_owned(),
                file: field("Filename")?.to_owned(),
                sha256: field("SHA256")?.to_owned(),
            })
        })
        .collect()
}

/// Fetches a file of the mirror; it appears under its name only when whole.
///
/// # Errors
/// When it does not come.
pub(crate) fn download(file: &str, to: &Path) -> Result<(), MirrorError> {
    let partial = to.with_extension(format!("{}.partial", std::process::id()));
    let address = format!("{}{file}", address()?);
    program::output(
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--location",
                "--retry",
                "3",
            ])
            .arg("--output")
            .arg(&partial)
            .arg(address),
    )
    .map_err(|source| MirrorError::Program {
        doing: format!("download {file}"),
        source,
    })?;
    fs::rename(&partial, to).map_err(|source| MirrorError::File {
        doing: "name",
        path: to.to_owned(),
        source,
    })
}

/// Checks a file against its pinned checksum.
///
/// # Errors
/// When it is another file, or cannot be read.
pub(crate) fn verify(path: &Path, expected: &str) -> Result<(), MirrorError> {
    let found = sha256(path)?;
    if found == expected {
        return Ok(());
    }
    Err(MirrorError::Checksum {
        path: path.to_owned(),
        found,
        expected: expected.to_owned(),
    })
}

fn sha256(path: &Path) -> Result<String, MirrorError> {
    let unreadable = |source| MirrorError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut block).map_err(unreadable)?;
        if length == 0 {
            return Ok(hexadecimal(&digest.finalize()));
        }
        digest.update(&block[..length]);
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_suite_of_debian_is_chosen_among_what_apt_lists() {
        let listed = "http://a/ubuntu noble Ubuntu\nhttp://s/debian-security x-security Debian\nhttp://m/debian x Debian\n";
        assert_eq!(from_apt(listed).unwrap(), "http://m/debian/");
        assert_eq!(from_apt("http://a/ubuntu noble Ubuntu\n"), None);
        assert_eq!(from_apt("http://a/ubuntu/ noble \n"), None);
        assert_eq!(
            from_apt("http://m/debian/ x \n").unwrap(),
            "http://m/debian/"
        );
    }

    #[test]
    fn without_debian_in_apt_mmdebstrap_is_asked() {
        let script = "x\n    my $mirror    = 'http://m.example/debian';\n";
        assert_eq!(from_mmdebstrap(script).unwrap(), "http://m.example/debian/");
        assert_eq!(from_mmdebstrap("nothing"), None);
    }

    #[test]
    fn an_index_gives_the_wanted_packages_only() {
        let text = "Package: a\nVersion: 1\nFilename: pool/a.deb\nSHA256: 00\n\nPackage: b\nVersion: 2\nFilename: pool/b.deb\nSHA256: 11\n";
        let found = parse_index(text, |name| name == "b");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].version.as_str(), found[0].file.as_str()),
            ("2", "pool/b.deb")
        );
    }

    #[test]
    fn a_file_that_is_not_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(verify(&path, right).is_ok());
        assert!(matches!(
            verify(&path, "00"),
            Err(MirrorError::Checksum { .. })
        ));
    }
}

//! The pinned kernel packages. `cargo xtask kernels --repin` writes the table
//! anew; everything before it is kept.
//!
//! Main suites only: their versions stay on the mirrors until the next point
//! release but one, those of security suites and backports for weeks.

/// One kernel package, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelPin {
    /// The name that guests go by.
    pub(crate) series: &'static str,
    /// The Debian suite it is in.
    pub(crate) suite: &'static str,
    /// The package's name.
    pub(crate) package: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// Its file, below the mirror's address.
    pub(crate) file: &'static str,
    /// The file's checksum.
    pub(crate) sha256: &'static str,
}

// The table. Written by `cargo xtask kernels --repin`.
/// What is pinned.
pub(crate) const PINS: &[KernelPin] = &[
    KernelPin {
        series: "5.10",
        suite: "bullseye",
        package: "linux-image-5.10.0-32-amd64",
        version: "5.10.223-1",
        file: "pool/main/l/linux-signed-amd64/linux-image-5.10.0-32-amd64_5.10.223-1_amd64.deb",
        sha256: "86a6792f3a03ab15a643f385830cdaa921f15e3e9c8bf63aa55a9243c62fc797",
    },
    KernelPin {
        series: "6.1",
        suite: "bookworm",
        package: "linux-image-6.1.0-50-amd64",
        version: "6.1.176-1",
        file: "pool/main/l/linux-signed-amd64/linux-image-6.1.0-50-amd64_6.1.176-1_amd64.deb",
        sha256: "7b5597492a0a65aee61985a492e6bcc3f2cde830072a0e3b3d8c7e1b90279bd3",
    },
    KernelPin {
        series: "6.12",
        suite: "trixie",
        package: "linux-image-6.12.107+deb13-amd64",
        version: "6.12.107-1",
        file: "pool/main/l/linux-signed-amd64/linux-image-6.12.107+deb13-amd64_6.12.107-1_amd64.deb",
        sha256: "7794643cf4560de2a7e3b069e8ca8511ad2a568d652ea285f0fe051f79bc9e99",
    },
];

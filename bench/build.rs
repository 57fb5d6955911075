//! Compiles the C programs of the bench with the system's C compiler.

use std::path::Path;
use std::process::Command;

fn main() {
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    for (name, extra) in [
        ("bare_loop", None),
        // Statically linked: nothing else on the machine maps its pages, so
        // its PSS depends on the other workers alone.
        ("worker", Some("-static")),
        ("memory_owner", None),
        ("page_out_loop", None),
    ] {
        let source = format!("c/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        let target = Path::new(&out).join(name);
        let compile = |extra: Option<&str>| {
            Command::new("cc")
                .args(["-std=gnu11", "-O2", "-Wall", "-Wextra"])
                .args(extra)
                .arg("-o")
                .arg(&target)
                .arg(&source)
                .status()
                .is_ok_and(|status| status.success())
        };
        // Some systems have no static C library.
        assert!(
            compile(extra) || (extra.is_some() && compile(None)),
            "`cc` failed to compile bench/{source}: install a C compiler, for example gcc"
        );
        println!(
            "cargo::rustc-env=BENCH_{}={}",
            name.to_uppercase(),
            target.display()
        );
    }
}

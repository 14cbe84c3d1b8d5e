//! Tells the program its revision and the compiler that built it.

#![expect(clippy::disallowed_methods, reason = "cargo talks to a build script through the environment")]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = run(&compiler, &["--version"]);
    let rustc = rustc.as_deref().map_or("unknown", |text| text.strip_prefix("rustc ").unwrap_or(text));
    let revision = revision().unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=CAPTCHAAI_EXPORTER_RUSTC={rustc}");
    println!("cargo:rustc-env=CAPTCHAAI_EXPORTER_REVISION={revision}");
}

/// The commit that is checked out here; none in a copy without its own repository.
fn revision() -> Option<String> {
    let top = run("git", &["rev-parse", "--show-toplevel"])?;
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // HEAD changes with the branch, and its log with every commit. A path that does not exist would
    // build everything again each time.
    for name in ["HEAD", "logs/HEAD"] {
        let path = run("git", &["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    run("git", &["rev-parse", "--short=12", "HEAD"])
}

/// The first line that a command prints, if it succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

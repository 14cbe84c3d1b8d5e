//! Dependencies point one way.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::repository;

/// What each part may import.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("main", &["app", "cli", "config", "demo"]),
    ("demo", &["app", "captchaai", "cli", "config", "domain", "notify"]),
    ("app", &["captchaai", "cli", "config", "delivery", "domain", "http", "metrics", "notify", "store"]),
    ("cli", &["config", "domain", "notify"]),
    ("http", &["config", "domain", "metrics", "store"]),
    ("captchaai", &["config", "domain", "metrics", "notify", "store"]),
    ("delivery", &["domain", "metrics", "notify", "store"]),
    ("store", &["domain", "metrics"]),
    ("config", &["domain", "notify"]),
    ("notify", &["domain"]),
    ("metrics", &[]),
    ("domain", &[]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The parts that a source text names, by `crate::PART` or `captchaai_exporter::PART`. Tests may use
/// what they like, and stand at the end of their file.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for prefix in ["crate::", "captchaai_exporter::"] {
            for rest in line.split(prefix).skip(1) {
                let names = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap());
                let list = if rest.starts_with('{') { names.split(',').collect() } else { vec![names] };
                for name in list {
                    let part: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    found.push(part);
                }
            }
        }
    }
    found
}

fn part_of(file: &Path, source: &Path) -> String {
    let first = file.strip_prefix(source).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn dependencies_point_one_way() {
    let source = repository("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 20, "{files:?}");
    let mut faults = Vec::new();
    for file in files {
        let part = part_of(&file, &source);
        let parts = file.strip_prefix(&source).unwrap();
        let is_test = parts.iter().any(|name| name == "tests" || name == "tests.rs" || name == "testing.rs");
        if part == "lib" || part == "build" || is_test {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == part) else {
            faults.push(format!("{part} is not in the table"));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if import != part && !allowed.contains(&import.as_str()) {
                faults.push(format!("{} imports {import}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let source = "use crate::store::Store;\nuse crate::{http, app::run};\n// crate::comment\nlet x = crate::demo::y();\n\
                  use captchaai_exporter::cli;\n#[cfg(test)]\nmod tests {\nuse crate::metrics::Metrics;";
    assert_eq!(imports(source), ["store", "http", "app", "demo", "cli"]);
}

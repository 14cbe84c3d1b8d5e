//! The date as the program sees it, through libfaketime: it jumps, and what is measured without a date goes on.

use std::path::{Path, PathBuf};

use crate::harness::Setup;

/// Jumps in seconds. A date that goes back by minutes delays what is due by as much, and no test waits for that;
/// by more than anything may wait for, it delays nothing.
const JUMPS: [i64; 5] = [-10_000, -20, 0, 20, 10_000];

pub(super) struct FakeClock {
    path: PathBuf,
    offset: i64,
}

impl FakeClock {
    /// The program of this setup looks at this clock from its next start.
    pub(super) fn of(setup: &mut Setup) -> Self {
        let clock = Self { path: setup.folder.path().join("clock"), offset: 0 };
        clock.write();
        setup.environment = vec![
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", clock.path.clone()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_NO_CACHE", "1".into()),
        ];
        clock
    }

    pub(super) fn jump(&mut self, rng: &mut fastrand::Rng) {
        self.offset = JUMPS[rng.usize(..JUMPS.len())];
        self.write();
    }

    fn write(&self) {
        // Moved into place, so that nobody reads half of it.
        let new = self.path.with_extension("new");
        std::fs::write(&new, format!("{:+}\n", self.offset)).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }
}

/// Debian keeps it in a folder that is named after the machine.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = |folder: PathBuf| folder.join(Path::new("faketime/libfaketimeMT.so.1"));
    folders.map(library).find(|path| path.exists()).unwrap_or_else(|| panic!("no libfaketime: install faketime"))
}

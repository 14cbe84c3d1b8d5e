//! Where pingbacks go while the database cannot be written: JSON lines, each one on disk before its
//! sender gets a 200. They are imported when the database works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::task::{Outcome, Pingback, TaskId};

/// One file takes no more than this, so that an import makes progress that lasts.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// How long an import waits after the folder could not be read.
const POSTPONED: Duration = Duration::from_secs(10);

/// The spill folder, as the writer uses it.
#[derive(Debug)]
pub(super) struct Spill {
    folder: PathBuf,
    current: Option<Current>,
    /// Files that wait to be imported, oldest first.
    waiting: Vec<PathBuf>,
    import: Option<Import>,
    postponed_until: Option<Instant>,
    started_at: Timestamp,
    files_written: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    /// Up to here every line is whole and on disk.
    good_bytes: u64,
}

#[derive(Debug)]
struct Import {
    path: PathBuf,
    lines: io::Split<BufReader<File>>,
    pingbacks: usize,
    /// Lines that are no pingbacks; kept for a person to look at.
    rejected: Vec<u8>,
}

/// What an imported file held.
#[derive(Debug)]
pub(super) struct Imported {
    /// Pingbacks that are in the store now.
    pub(super) pingbacks: usize,
    /// Where the lines are that could not be read, if there were any.
    pub(super) rejected: Option<PathBuf>,
}

/// Some lines of a file.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// What they hold.
    pub(super) pingbacks: Vec<Pingback>,
    /// How many hold something else.
    pub(super) unreadable: usize,
    /// Whether this was the end of the file.
    pub(super) end: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    failed: bool,
    code: String,
    received_at: i64,
    account: Option<String>,
    captcha: String,
    submitted_at: Option<i64>,
    #[serde(default)]
    verify: bool,
}

impl Spill {
    /// Opens the folder, with the files that an earlier process left. `now` names new files, so that
    /// none is written to twice.
    pub(super) fn open(folder: &Path, now: Timestamp) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut waiting = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if entry.file_type()?.is_file()
                && name.starts_with("pingbacks-")
                && path.extension().is_some_and(|extension| extension == "jsonl")
            {
                waiting.push(path);
            }
        }
        waiting.sort();
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            current: None,
            waiting,
            import: None,
            postponed_until: None,
            started_at: now,
            files_written: 0,
        })
    }

    /// Appends pingbacks; on disk when this returns `Ok`, not at all otherwise.
    pub(super) fn append<'a>(&mut self, pingbacks: impl Iterator<Item = &'a Pingback>) -> io::Result<()> {
        let mut lines = Vec::new();
        for pingback in pingbacks {
            serde_json::to_writer(&mut lines, &Line::from(pingback))?;
            lines.push(b'\n');
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.create()?,
        };
        if let Err(error) = current.file.write_all(&lines).and_then(|()| current.file.sync_data()) {
            // Half a line must not be followed by a whole one. If even this fails, the file is closed
            // with a torn end, which nobody was told is safe.
            if current.file.set_len(current.good_bytes).is_ok() {
                self.current = Some(current);
            } else {
                self.waiting.push(current.path);
            }
            return Err(error);
        }
        current.good_bytes += lines.len() as u64;
        if current.good_bytes < MAX_FILE_BYTES {
            self.current = Some(current);
        } else {
            self.waiting.push(current.path);
        }
        Ok(())
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is anything to import.
    pub(super) fn has_waiting(&self) -> bool {
        let postponed = self.postponed_until.is_some_and(|until| Instant::now() < until);
        !postponed && (self.current.is_some() || self.import.is_some() || !self.waiting.is_empty())
    }

    /// Reads the next lines, at most `limit`; `None` when there is nothing left to import.
    pub(super) fn next_step(&mut self, limit: usize) -> io::Result<Option<Step>> {
        if !self.has_waiting() {
            return Ok(None);
        }
        if let Some(current) = self.current.take() {
            self.waiting.push(current.path);
        }
        if self.import.is_none() {
            let Some(path) = self.waiting.first() else { return Ok(None) };
            let file = File::open(path).inspect_err(|error| {
                // A file that cannot be read must not hold up the others.
                if error.kind() == io::ErrorKind::NotFound {
                    self.waiting.remove(0);
                } else {
                    self.waiting.rotate_left(1);
                }
            })?;
            let lines = BufReader::new(file).split(b'\n');
            self.import = Some(Import { path: self.waiting.remove(0), lines, pingbacks: 0, rejected: Vec::new() });
        }
        let Some(import) = &mut self.import else { return Ok(None) };
        let mut step = Step::default();
        for _ in 0..limit {
            let Some(line) = import.lines.next() else {
                step.end = true;
                break;
            };
            let line = line?;
            if let Some(pingback) = parse(&line) {
                import.pingbacks += 1;
                step.pingbacks.push(pingback);
            } else {
                step.unreadable += 1;
                import.rejected.extend_from_slice(&line);
                import.rejected.push(b'\n');
            }
        }
        Ok(Some(step))
    }

    /// The store does not take this one: it stays, for a person to look at.
    pub(super) fn reject(&mut self, pingback: &Pingback) {
        if let Some(import) = &mut self.import {
            import.pingbacks -= 1;
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut import.rejected, &Line::from(pingback));
            import.rejected.push(b'\n');
        }
    }

    /// All lines of the file are in the store: remove it. Lines that could not be read stay, in a file
    /// of their own.
    pub(super) fn finish_import(&mut self) -> io::Result<Imported> {
        let mut imported = Imported { pingbacks: 0, rejected: None };
        let Some(import) = self.import.take() else { return Ok(imported) };
        imported.pingbacks = import.pingbacks;
        if !import.rejected.is_empty() {
            let path = import.path.with_extension("rejected");
            let mut file = private().create(true).append(true).open(&path)?;
            file.write_all(&import.rejected)?;
            file.sync_all()?;
            imported.rejected = Some(path);
        }
        fs::remove_file(&import.path)?;
        sync_folder(&self.folder)?;
        Ok(imported)
    }

    /// The store failed in the middle: begin this file again later. Nothing is counted twice, because
    /// what is there already is recognised.
    pub(super) fn restart_import(&mut self) {
        if let Some(import) = self.import.take() {
            self.waiting.insert(0, import.path);
        }
    }

    /// The folder cannot be read now: no more imports for a while.
    pub(super) fn postpone(&mut self) {
        self.restart_import();
        self.postponed_until = Some(Instant::now() + POSTPONED);
    }

    fn create(&mut self) -> io::Result<Current> {
        self.files_written += 1;
        let name = format!("pingbacks-{:013}-{:06}.jsonl", self.started_at.as_millisecond(), self.files_written);
        let path = self.folder.join(name);
        let file = private().create_new(true).append(true).open(&path)?;
        sync_folder(&self.folder)?;
        Ok(Current { file, path, good_bytes: 0 })
    }
}

/// The lines hold solutions: nobody else may read them.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// A new name lasts only when its folder is on disk too.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parse(line: &[u8]) -> Option<Pingback> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let code = line.code.into_boxed_str();
    Some(Pingback {
        id: TaskId::parse(&line.id)?,
        outcome: if line.failed { Outcome::Failed(code) } else { Outcome::Solved(code) },
        received_at: Timestamp::from_millisecond(line.received_at).ok()?,
        account: line.account.map(Into::into),
        captcha: line.captcha.into(),
        submitted_at: line.submitted_at.and_then(|time| Timestamp::from_millisecond(time).ok()),
        verify: line.verify,
    })
}

impl From<&Pingback> for Line {
    fn from(pingback: &Pingback) -> Self {
        let (failed, code) = match &pingback.outcome {
            Outcome::Solved(code) => (false, code),
            Outcome::Failed(error) => (true, error),
        };
        Self {
            id: pingback.id.to_string(),
            failed,
            code: code.to_string(),
            received_at: pingback.received_at.as_millisecond(),
            account: pingback.account.as_deref().map(Into::into),
            captcha: pingback.captcha.to_string(),
            submitted_at: pingback.submitted_at.map(Timestamp::as_millisecond),
            verify: pingback.verify,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pingback(number: usize) -> Pingback {
        Pingback {
            id: TaskId::parse(&format!("id-{number}")).unwrap(),
            outcome: Outcome::from_code(if number.is_multiple_of(2) { "solution\nwith a line" } else { "ERROR_X" }),
            received_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            account: number.is_multiple_of(3).then(|| "main".into()),
            captcha: "turnstile".into(),
            submitted_at: (number % 3 == 1).then(|| Timestamp::from_second(1_700_000_000).unwrap()),
            verify: number.is_multiple_of(2),
        }
    }

    fn import_all(spill: &mut Spill) -> (Vec<Pingback>, usize) {
        let (mut all, mut unreadable) = (Vec::new(), 0);
        for _ in 0..100 {
            let Some(step) = spill.next_step(2).unwrap() else { break };
            all.extend(step.pingbacks);
            unreadable += step.unreadable;
            if step.end {
                spill.finish_import().unwrap();
            }
        }
        (all, unreadable)
    }

    #[test]
    fn what_was_spilled_comes_back_and_the_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let written: Vec<_> = (0..5).map(pingback).collect();
        let mut spill = Spill::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        spill.append(written[..3].iter()).unwrap();
        spill.append(written[3..].iter()).unwrap();
        assert!(spill.has_waiting());
        assert_eq!(import_all(&mut spill), (written, 0));
        assert!(!spill.has_waiting());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_process_finds_what_the_first_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let written = [pingback(0)];
        Spill::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap().append(written.iter()).unwrap();
        let mut spill = Spill::open(folder.path(), Timestamp::from_second(5).unwrap()).unwrap();
        assert_eq!(import_all(&mut spill).0, written);
    }

    #[test]
    fn an_import_that_is_begun_again_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let written: Vec<_> = (0..5).map(pingback).collect();
        let mut spill = Spill::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        spill.append(written.iter()).unwrap();
        assert_eq!(spill.next_step(2).unwrap().unwrap().pingbacks.len(), 2);
        spill.restart_import();
        assert_eq!(import_all(&mut spill).0, written);
    }

    #[test]
    fn a_torn_line_stays_for_a_person_and_its_neighbours_are_imported() {
        let folder = tempfile::tempdir().unwrap();
        let written = [pingback(0), pingback(1)];
        Spill::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap().append(written.iter()).unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"torn").unwrap();
        let mut spill = Spill::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(import_all(&mut spill), (written.to_vec(), 1));
        assert_eq!(fs::read_to_string(path.with_extension("rejected")).unwrap(), "{\"id\":\"torn\n");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_not_a_loss() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        fs::remove_dir(folder.path()).unwrap();
        assert!(spill.append([pingback(0)].iter()).is_err());
    }
}

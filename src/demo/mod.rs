//! Everything in one process: the exporter, a simulated CaptchaAI, simulated workers between them, and a
//! simulated Alertmanager, Discord and Alertalk for alerts. No API key is needed, and nothing leaves this
//! machine.
//!
//! [`captchaai`], [`discord`] and [`alertalk`] serve tests and benchmarks as well.

pub mod alertalk;
mod alertmanager;
pub mod captchaai;
pub mod discord;
pub mod fault;
pub mod kinds;
mod page;
mod serving;
pub mod speed;
mod stage;
pub mod subscriber;
pub mod workers;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::cli::{self, Arguments, Command};
use crate::config::Environment;
use stage::{Stage, StageError};

pub use serving::StartError;

/// How long tests wait for something before they fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no demonstration, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What surrounds the exporter does not work.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The flags are wrong, one fault a line.
    #[error("{0}")]
    Flags(String),
    /// The exporter does not start, or has died.
    #[error(transparent)]
    Exporter(#[from] app::Error),
}

/// Shows everything until `stop` is cancelled.
pub async fn run(arguments: &Arguments, stop: CancellationToken) -> Result<(), Error> {
    if arguments.web_config_file.is_some() {
        let why = "--web.config.file cannot be used with demo: the simulated workers have neither certificates \
                   nor passwords";
        return Err(Error::Flags(why.to_owned()));
    }
    let faults = matches!(arguments.command, Some(Command::Demo { faults: true }));
    let mut stage = Stage::set(fastrand::Rng::new(), faults).await?;
    let shown = show(&mut stage, arguments, &stop).await;
    let cleared = stage.clear().await;
    shown.and(cleared.map_err(Error::Stage))
}

async fn show(stage: &mut Stage, arguments: &Arguments, stop: &CancellationToken) -> Result<(), Error> {
    let mut arguments = arguments.clone();
    arguments.config_file = Some(stage.config_file());
    let reread: app::Reread = Arc::new(move || cli::settings(&arguments, &Environment::default()));
    let settings = reread()
        .map_err(|faults| Error::Flags(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let (ready, listening) = oneshot::channel();
    let exporter = app::run(settings, reread, stop.clone(), Some(ready));
    let workers = async {
        // Without addresses the exporter did not start, and says itself why.
        let Ok(addresses) = listening.await else { return Ok(()) };
        // Whoever closed the output does not want to read it.
        let _ = std::io::stdout().write_all(stage.greeting(&addresses).as_bytes());
        stage.play(&addresses, stop).await.inspect_err(|_| stop.cancel())
    };
    let (exporter, workers) = tokio::join!(exporter, workers);
    exporter?;
    workers.map_err(Error::Stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a demonstration that is to stop at once.
    async fn shown(flags: &[&str]) -> Result<(), String> {
        let arguments = cli::parse_from(["captchaai-exporter", "demo"].iter().chain(flags)).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        run(&arguments, stop).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn other_machines_are_let_in_only_when_told_to() {
        let expected = "--web.listen-address: \"0.0.0.0:0\" can be reached by other machines and web.auth_token is \
                        not set, but /api shows solutions; expected --web.allow-anonymous";
        assert_eq!(shown(&["--web.listen-address=0.0.0.0:0"]).await, Err(expected.to_owned()));
    }
}

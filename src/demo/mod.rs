//! Everything in one process: the exporter, a simulated CaptchaAI, and simulated workers between them.
//! No API key is needed, and nothing leaves this machine.
//!
//! [`captchaai`] serves tests and benchmarks as well.

pub mod captchaai;
pub mod kinds;
pub mod speed;
mod stage;
pub mod workers;

use std::io::Write as _;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::cli::{self, Arguments};
use crate::config::Environment;
use stage::{Stage, StageError};

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
    let mut stage = Stage::set(fastrand::Rng::new()).await?;
    let shown = show(&mut stage, arguments, &stop).await;
    let cleared = stage.clear().await;
    shown.and(cleared.map_err(Error::Stage))
}

async fn show(stage: &mut Stage, arguments: &Arguments, stop: &CancellationToken) -> Result<(), Error> {
    let mut arguments = arguments.clone();
    arguments.config_file = Some(stage.config_file());
    // Anybody may look: there is nothing to steal and nothing that costs money.
    arguments.allow_anonymous = true;
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

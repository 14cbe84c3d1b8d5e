//! The executable: arguments, logs, signals and the exit code.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;

use captchaai_exporter::cli::{self, Arguments, Command, DeadLetters, LogFormat, TestAlert};
use captchaai_exporter::config::{Config, Environment};
use captchaai_exporter::{app, demo};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let arguments = cli::parse();
    let environment = Environment::from_process();
    if arguments.config_check {
        return check(&arguments, &environment);
    }
    start_log(&arguments);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime cannot be started: {error}")),
    };
    if let Some(Command::DeadLetters(options)) = &arguments.command {
        return runtime.block_on(dead_letters(&arguments, options, &environment));
    }
    let result = runtime.block_on(until_asked_to_stop(arguments, environment));
    // Nothing that is worth waiting for runs any more; a reader that hangs must not hold the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => failed(&reason),
    }
}

/// Runs until it ends by itself or a signal asks it to.
async fn until_asked_to_stop(arguments: Arguments, environment: Environment) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be handled: {error}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let work = run(arguments, environment, stop.clone());
    tokio::pin!(work);
    let name = tokio::select! {
        result = &mut work => return result,
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = name, "asked to stop");
    stop.cancel();
    work.await
}

async fn run(arguments: Arguments, environment: Environment, stop: CancellationToken) -> Result<(), String> {
    if matches!(arguments.command, Some(Command::Demo { .. })) {
        return demo::run(&arguments, stop).await.map_err(|error| error.to_string());
    }
    let command = arguments.command.clone();
    let reread: app::Reread = Arc::new(move || cli::settings(&arguments, &environment));
    let settings = reread().map_err(|faults| {
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        // Each fault on a line of its own, as --config.check writes them.
        format!("the configuration cannot be used:\n{}", lines.join("\n"))
    })?;
    if let Some(Command::TestAlert(options)) = &command {
        return test_alert(&settings.config, options).await;
    }
    app::run(settings, reread, stop, None).await.map_err(|error| error.to_string())
}

/// `dead-letters`: 0 when it is done, 1 when it failed, 3 when there is no such letter.
#[expect(clippy::print_stdout, reason = "this is what the subcommand is for")]
async fn dead_letters(arguments: &Arguments, options: &DeadLetters, environment: &Environment) -> ExitCode {
    // The configuration is read for its token only; one that is wrong has no say here.
    let settings = cli::settings(arguments, environment).ok().filter(|_| options.token_file.is_none());
    let token = settings.and_then(|settings| settings.config.web.auth_token);
    match app::dead_letters::run(options, token).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            failed(&error.to_string());
            ExitCode::from(if matches!(error, app::dead_letters::Error::Unknown(_)) { 3 } else { 1 })
        }
    }
}

/// `test-alert`: what each destination said goes to the output, also where something failed.
#[expect(clippy::print_stdout, reason = "this is what the subcommand is for")]
async fn test_alert(config: &Config, options: &TestAlert) -> Result<(), String> {
    match app::test_alert::run(config, options).await {
        Ok(report) => {
            print!("{report}");
            Ok(())
        }
        Err(report) => Err(report.trim_end().to_owned()),
    }
}

/// `--config.check`: what is wrong goes to the error output, one fault a line and nothing else.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what the flag is for")]
fn check(arguments: &Arguments, environment: &Environment) -> ExitCode {
    match cli::check(arguments, environment) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(arguments: &Arguments) {
    let level: LevelFilter = arguments.log_level.into();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The last words, for a person: also where the log goes, so that both are found together.
#[expect(clippy::print_stderr, reason = "a program that cannot go on says so plainly")]
fn failed(reason: &str) -> ExitCode {
    eprintln!("captchaai-exporter: {reason}");
    ExitCode::FAILURE
}

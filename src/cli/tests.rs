use super::*;

const GOOD: &str = "tests/data/config/good";

fn arguments(flags: &[&str]) -> Arguments {
    parse_from(["captchaai-exporter"].iter().chain(flags)).unwrap()
}

fn check_settings(flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
    let settings = settings(&arguments(flags), &Environment::new(variables));
    settings.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn clap_finds_nothing_wrong_with_the_flags() {
    Arguments::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_contract() {
    let settings = check_settings(&[], &[]).unwrap();
    assert_eq!(settings.listen.addresses, ["127.0.0.1:9877".parse().unwrap()]);
    assert!(settings.listen.external_url.is_none() && settings.listen.web_config.is_none());
    assert_eq!(settings.config.storage.path, PathBuf::from("data/captchaai-exporter.db"));
    let arguments = arguments(&[]);
    assert_eq!((arguments.log_level, arguments.log_format), (LogLevel::Info, LogFormat::Text));
    assert!(arguments.command.is_none() && !arguments.config_check);
}

#[test]
fn flags_take_their_value_either_way_and_on_either_side_of_demo() {
    for flags in [
        ["--log.level=debug", "--web.listen-address=:1", "demo"].as_slice(),
        &["--log.level", "debug", "--web.listen-address", ":1", "demo"],
        &["demo", "--log.level=debug", "--web.listen-address=:1"],
        &["--log.level=debug", "demo", "--web.listen-address", ":1"],
    ] {
        let arguments = arguments(flags);
        assert_eq!(arguments.command, Some(Command::Demo { faults: false }), "{flags:?}");
        assert_eq!(arguments.log_level, LogLevel::Debug, "{flags:?}");
        assert_eq!(arguments.listen_addresses, [":1"], "{flags:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for flags in [
        ["--config.file=x.yml", "demo"].as_slice(),
        &["--config.check", "demo"],
        &["--storage.url=sqlite:x.db", "demo"],
        &["demo", "--config.file=x.yml"],
        &["test-alert", "--severity=loud"],
        &["help"],
        &["--log.level=loud"],
        &["--log.format=xml"],
        &["-V"],
        &["--config.file"],
        &["x.yml"],
    ] {
        let error = parse_from(["captchaai-exporter"].iter().chain(flags)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{flags:?}");
    }
}

#[test]
fn the_version_names_revision_and_compiler() {
    let shown = parse_from(["captchaai-exporter", "--version"]).unwrap_err();
    assert_eq!(shown.exit_code(), 0);
    let expected = format!("captchaai-exporter, version {VERSION} (revision: {REVISION})\n  rustc: {RUSTC}\n");
    assert_eq!(shown.to_string(), expected);
    assert!(RUSTC.starts_with("1.") && !REVISION.is_empty(), "{RUSTC} {REVISION}");
}

#[test]
fn addresses_are_hosts_with_a_port() {
    for (text, expected) in [
        ("127.0.0.1:9877", Some("127.0.0.1:9877")),
        ("127.0.0.1:0", Some("127.0.0.1:0")),
        ("[::1]:9877", Some("[::1]:9877")),
        (":9877", Some("[::]:9877")),
        ("0.0.0.0:80", Some("0.0.0.0:80")),
        ("localhost:1", Some("127.0.0.1:1")),
        ("9877", None),
        ("127.0.0.1", None),
        ("[::1]", None),
        ("127.0.0.1:", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:http", None),
        ("a b:80", None),
        ("", None),
    ] {
        assert_eq!(resolve(text).ok(), expected.map(|text| text.parse().unwrap()), "{text}");
    }
}

#[test]
fn without_a_token_only_this_machine_is_let_in() {
    let token = [("WEB_AUTH_TOKEN", "secret")];
    for (flags, variables, open) in [
        (["--web.listen-address=127.0.0.1:1", "--web.listen-address=[::1]:1"].as_slice(), [].as_slice(), true),
        (&["--web.listen-address=[::ffff:127.0.0.1]:1"], &[], true),
        (&["--web.listen-address=:1"], &[], false),
        (&["--web.listen-address=0.0.0.0:1"], &[], false),
        (&["--web.listen-address=192.0.2.1:1"], &[], false),
        (&["--web.listen-address=127.0.0.1:1", "--web.listen-address=[2001:db8::1]:1"], &[], false),
        (&["--web.listen-address=:1"], &token, true),
        (&["--web.listen-address=:1", "--web.allow-anonymous"], &[], true),
    ] {
        assert_eq!(check_settings(flags, variables).is_ok(), open, "{flags:?} {variables:?}");
    }
    assert_eq!(
        check_settings(&["--web.listen-address=:1"], &[]).unwrap_err(),
        "--web.listen-address: \":1\" can be reached by other machines and web.auth_token is not set, but \
         /api shows solutions; expected web.auth_token (or WEB_AUTH_TOKEN), or --web.allow-anonymous"
    );
}

#[test]
fn everything_that_is_wrong_is_reported_together() {
    let flags = [
        "--storage.url=postgres://user:hunter2@localhost/x",
        "--web.listen-address=9877",
        "--web.listen-address=:1",
        "--web.external-url=captcha.example.com",
        "--web.config.file=tests/data/config/bad_web/http2.yml",
    ];
    let expected = "\
environment: WEBHOOK_ADDRESS: is no URL of a web server; expected http://HOST[:PORT][/PATH] or https://…
--storage.url: PostgreSQL is not supported yet; expected sqlite:PATH, as in sqlite:data/captchaai-exporter.db
--web.listen-address: \"9877\" is no address; expected HOST:PORT, as in 127.0.0.1:9877 or [::1]:9877, or :PORT for \
every interface
--web.external-url: \"captcha.example.com\" is no URL of a web server; expected http://HOST[:PORT][/PATH] or https://…
tests/data/config/bad_web/http2.yml:2:10: http_server_config.http2: \"maybe\" is no boolean; expected true or false";
    assert_eq!(check_settings(&flags, &[("WEBHOOK_ADDRESS", "hunter2")]).unwrap_err(), expected);
    let twice = ["--web.listen-address=127.0.0.1:1", "--web.listen-address=localhost:1"];
    let expected = "--web.listen-address: \"localhost:1\" is given twice; expected each address once";
    assert_eq!(check_settings(&twice, &[]).unwrap_err(), expected);
    assert!(check_settings(&["--web.listen-address=127.0.0.1:0", "--web.listen-address=127.0.0.1:0"], &[]).is_ok());
}

#[test]
fn the_storage_flag_beats_the_file() {
    let storage = |flags: &[&str]| {
        let storage = check_settings(flags, &[]).unwrap().config.storage;
        (storage.path.display().to_string(), storage.spill_dir.display().to_string())
    };
    let (default, given) = (format!("--config.file={GOOD}/numbers.yml"), format!("--config.file={GOOD}/example.yml"));
    let flag = "--storage.url=sqlite:/tmp/other/x.db";
    for (flags, path, spill_dir) in [
        ([].as_slice(), "data/captchaai-exporter.db", "data/spill"),
        (&[flag], "/tmp/other/x.db", "/tmp/other/spill"),
        (&["--storage.url=sqlite:x.db"], "x.db", "spill"),
        (&[&default, flag], "/tmp/other/x.db", "/tmp/other/spill"),
        (&[&given, flag], "/tmp/other/x.db", "data/spill"),
    ] {
        assert_eq!(storage(flags), (path.to_owned(), spill_dir.to_owned()), "{flags:?}");
    }
}

#[test]
fn a_check_says_what_was_checked() {
    let run = |flags: &[&str]| check(&arguments(flags), &Environment::default());
    let example = format!("--config.file={GOOD}/example.yml");
    assert_eq!(
        run(&["--config.check", &example]).as_deref(),
        Ok("tests/data/config/good/example.yml: configuration is valid")
    );
    let empty = run(&["--config.check"]).unwrap();
    assert!(empty.starts_with("environment: configuration is valid\nwarning: no account is configured"), "{empty}");
    let wrong = run(&["--config.check", "--config.file=missing.yml"]);
    let expected = "missing.yml:1:1: cannot be read: No such file or directory (os error 2); expected a YAML file";
    assert_eq!(wrong, Err(expected.to_owned()));
}

#[test]
fn what_is_open_to_others_is_warned_of() {
    let warnings = |flags: &[&str], variables: &[(&str, &str)]| -> Vec<String> {
        let settings = check_settings(flags, variables).unwrap();
        let subject = |warning: &String| warning.split(':').next().unwrap_or_default().to_owned();
        settings.warnings.iter().map(subject).filter(|subject| subject == "pingback" || subject == "marzban").collect()
    };
    let file = format!("--config.file={GOOD}/marzban_open.yml");
    let open = ["--web.listen-address=:1", "--web.allow-anonymous", &file];
    assert_eq!(warnings(&open, &[]), ["pingback", "marzban"]);
    assert_eq!(warnings(&[&file], &[]), Vec::<String>::new());
    let variables = [("PINGBACK_TOKEN", "a"), ("MARZBAN_WEBHOOK_SECRET", "b")];
    assert_eq!(warnings(&open[..2], &variables), Vec::<String>::new());
}

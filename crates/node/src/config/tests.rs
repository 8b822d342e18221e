//! Precedence, spellings and errors of the configuration.

use serde::Deserialize;

use super::*;
use crate::{
    sections::{CHAIN_DOCS, ChainConfig, NODE_DOCS, NodeConfig},
    telemetry::{LOG_DOCS, LogConfig},
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Role {
    listen: String,
    rtmp: Rtmp,
    keys: BTreeMap<String, String>,
    ladder: Vec<Rung>,
    webhook: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rtmp {
    max_streams: u16,
    take_over: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rung {
    name: String,
    height: u32,
}

impl Default for Role {
    fn default() -> Self {
        let ladder = vec![Rung { name: "720p".into(), height: 720 }];
        Self { listen: "127.0.0.1:1935".into(), rtmp: Rtmp::default(), keys: BTreeMap::new(), ladder, webhook: None }
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Self { max_streams: 8, take_over: false }
    }
}

const DOCS: &[(&str, &str)] = &[
    ("listen", "Where encoders connect."),
    ("rtmp.max_streams", "Streams at once."),
    ("rtmp.take_over", "A second publisher replaces the first."),
    ("keys", "Stream keys by name."),
    ("ladder", "Renditions to make."),
    ("webhook", "Who is asked about a key."),
];

fn schema() -> Schema {
    let role = Section::of::<Role>("role", DOCS).unwrap();
    Schema::new(vec![role, Section::of::<LogConfig>("log", LOG_DOCS).unwrap()]).unwrap()
}

fn load(file: &str, env: &[(&str, &str)], flags: &[&str]) -> Result<Role, ConfigError> {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&path, file).unwrap();
    let schema = schema();
    let command = Command::new("t").args(schema.args());
    let flags = ["t", "--config", path.path().to_str().unwrap()].into_iter().chain(flags.iter().copied());
    let flags = command.try_get_matches_from(flags).unwrap();
    schema.load(&flags, env.iter().map(|(k, v)| (k.to_string(), v.to_string())))?.section("role")
}

#[test]
fn nothing_configured_is_the_default() {
    assert_eq!(load("", &[], &[]).unwrap(), Role::default());
}

#[test]
fn a_flag_wins_over_the_environment_the_environment_over_the_file_the_file_over_the_default() {
    let file = "[role]\nlisten = 'file'\nrtmp.max_streams = 1\n[role.keys]\na = 'x'";
    let env = [("MILLRACE_ROLE_LISTEN", "env"), ("MILLRACE_ROLE_RTMP_MAX_STREAMS", "2")];
    let role = load(file, &env, &["--role-listen", "flag"]).unwrap();
    assert_eq!((role.listen.as_str(), role.rtmp.max_streams, role.rtmp.take_over), ("flag", 2, false));
    assert_eq!(role.keys["a"], "x");
}

#[test]
fn lists_tables_and_bare_words_can_be_given_in_one_argument() {
    let flags = [
        "--role-keys",
        "{ bob = 'k1', eve = 'k2' }",
        "--role-ladder=[{ name = '360p', height = 360 }]",
        "--role-rtmp-take-over",
        "true",
        "--role-webhook",
        "8080",
        "--role-listen",
        "[::1]:1935",
    ];
    let role = load("", &[], &flags).unwrap();
    assert_eq!(role.keys["eve"], "k2");
    assert_eq!(role.ladder, [Rung { name: "360p".into(), height: 360 }]);
    assert!(role.rtmp.take_over);
    assert_eq!((role.webhook.as_deref(), role.listen.as_str()), (Some("8080"), "[::1]:1935"));
}

#[test]
fn a_list_replaces_the_default_list() {
    assert!(load("[role]\nladder = []", &[], &[]).unwrap().ladder.is_empty());
}

#[test]
fn an_unknown_key_is_named_with_its_file_or_variable() {
    for (file, key) in [
        ("[role]\nlisen = 'x'", "role.lisen"),
        ("[role.rtmp]\nmax = 1", "role.rtmp.max"),
        ("[rolle]\nlisten = 'x'", "rolle"),
        ("role = 3", "role"),
    ] {
        let error = load(file, &[], &[]).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConfigError::Unknown { key: ref k, .. } if k == key), "{text}");
        assert!(text.contains("config file /"), "{text}");
    }
    let error = load("", &[("MILLRACE_ROLE_LISEN", "x"), ("MILLRACE_MEDIA", "x")], &[]).unwrap_err();
    assert!(matches!(&error, ConfigError::Unknown { key, .. } if key == "MILLRACE_ROLE_LISEN"), "{error}");
    // Inside a table that is one value, serde knows the fields.
    let error = load("[role]\nladder = [{ name = 'a', height = 1, hight = 2 }]", &[], &[]).unwrap_err();
    assert!(error.to_string().contains("hight"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_where_it_was_set() {
    let cases = [
        (load("[role.rtmp]\nmax_streams = 'many'", &[], &[]), "config file"),
        (load("", &[("MILLRACE_ROLE_RTMP_MAX_STREAMS", "70000")], &[]), "MILLRACE_ROLE_RTMP_MAX_STREAMS"),
        (load("", &[], &["--role-rtmp-max-streams", "-1"]), "--role-rtmp-max-streams"),
        (load("[role]\nrtmp.max_streams = 3\nrtmp.take_over = 0", &[], &[]), "config file"),
    ];
    for (outcome, origin) in cases {
        let error = outcome.unwrap_err();
        assert!(matches!(error, ConfigError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(origin) && error.to_string().contains("role.rtmp."), "{error}");
    }
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let error = load("[role", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("is not toml") && error.contains("line 1"), "{error}");
    let schema = schema();
    let flags = Command::new("t").args(schema.args()).get_matches_from(["t"]);
    let error = schema.load(&flags, [("MILLRACE_CONFIG".into(), "/no/such.toml".into())]).unwrap_err().to_string();
    assert!(error.contains("/no/such.toml"), "{error}");
}

#[test]
fn bad_usage_exits_64_and_help_exits_0() {
    let command = || Command::new("t").args(schema().args());
    assert_eq!(arguments(command(), ["t", "--role-lisen", "x"]).unwrap_err(), 64);
    assert_eq!(arguments(command(), ["t", "--help"]).unwrap_err(), 0);
    assert!(arguments(command(), ["t", "--role-listen", "x"]).is_ok());
}

#[test]
fn docs_that_miss_a_key_or_name_one_that_is_not_there_are_refused() {
    let without_last: &'static [_] = &DOCS[..DOCS.len() - 2];
    let missing = Schema::new(vec![Section::of::<Role>("role", without_last).unwrap()]);
    assert!(matches!(missing, Err(ConfigError::Docs { ref key, .. }) if key == "role.ladder"));
    const INVENTED: &[(&str, &str)] = &[("format", ""), ("filter", ""), ("colour", "")];
    let invented = Schema::new(vec![Section::of::<LogConfig>("log", INVENTED).unwrap()]);
    assert!(matches!(invented, Err(ConfigError::Docs { ref key, .. }) if key == "log.colour"));
}

#[test]
fn the_reference_lists_every_key_and_the_example_loads_as_the_defaults() {
    let reference = schema().reference();
    for (key, doc) in DOCS {
        assert!(reference.contains(&format!("| `{key}` |")) && reference.contains(doc), "{reference}");
    }
    assert!(reference.contains("| `webhook` | none |"), "{reference}");
    let example = schema().example();
    assert!(example.contains("rtmp.max_streams = 8"), "{example}");
    assert_eq!(load(&example, &[], &[]).unwrap(), Role::default());
}

#[test]
fn the_sections_of_every_role_are_documented() {
    let node = Section::of::<NodeConfig>("node", NODE_DOCS).unwrap();
    Schema::new(vec![node, Section::of::<ChainConfig>("chain", CHAIN_DOCS).unwrap()]).unwrap();
}

#[test]
fn each_value_is_told_with_its_origin_and_no_secret_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, "[role]\nlisten = \"127.0.0.1:1\"\nkeys = { show = \"the-secret\" }\n").unwrap();
    let role = || Section::of::<Role>("role", DOCS).unwrap();
    let schema = Schema::new(vec![role().with_secrets(&["keys", "webhook"])]).unwrap();
    let flags = Command::new("t").args(schema.args());
    let flags = flags.get_matches_from(["t", "--config", path.to_str().unwrap(), "--role-rtmp-take-over", "true"]);
    let env = [("MILLRACE_ROLE_RTMP_MAX_STREAMS".to_owned(), "9".to_owned())];
    let config = schema.load(&flags, env).unwrap();
    let of = |key: &str| config.settings().iter().find(|setting| setting.key == key).unwrap();
    let file = Origin::File(path.display().to_string());
    assert_eq!((&of("role.listen").value, &of("role.listen").origin), (&"127.0.0.1:1".into(), &file));
    assert_eq!((&of("role.keys").value, &of("role.keys").origin), (&"set".into(), &file));
    let variable = Origin::Environment("MILLRACE_ROLE_RTMP_MAX_STREAMS".into());
    assert_eq!((&of("role.rtmp.max_streams").value, &of("role.rtmp.max_streams").origin), (&9.into(), &variable));
    assert_eq!(of("role.rtmp.max_streams").default, 8);
    assert_eq!(of("role.rtmp.take_over").origin, Origin::Flag("--role-rtmp-take-over".into()));
    assert_eq!((&of("role.ladder").origin, of("role.ladder").doc), (&Origin::Default, "Renditions to make."));
    assert!(of("role.webhook").value.is_null(), "a secret that nobody has set");
    assert!(!serde_json::to_string(config.settings()).unwrap().contains("the-secret"));

    let wrong = Schema::new(vec![role().with_secrets(&["kees"])]);
    assert!(wrong.is_err_and(|error| error.to_string().contains("role.kees")));
}

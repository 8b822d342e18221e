//! One configuration in three spellings. A key `broadcaster.rtmp.listen` is `listen` under `[broadcaster.rtmp]` in the TOML
//! file, `MILLRACE_BROADCASTER_RTMP_LISTEN` in the environment and `--broadcaster-rtmp-listen` on the command line; what
//! comes later in this list wins over what comes earlier, and all win over the default. Values in the environment and on
//! the command line are TOML, or plain text where the key wants a string. A key that nobody knows is an error.
//!
//! A role owns a struct with defaults and, beside it, a table with a sentence per key:
//! ```
//! use serde::{Deserialize, Serialize};
//! use millrace_node::config::{Schema, Section};
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! struct Origin { listen: String }
//! impl Default for Origin {
//!     fn default() -> Self { Self { listen: "127.0.0.1:8080".into() } }
//! }
//! const DOCS: &[(&str, &str)] = &[("listen", "Where players connect, as address:port.")];
//!
//! let schema = Schema::new(vec![Section::of::<Origin>("origin", DOCS)?])?;
//! let flags = clap::Command::new("millrace").args(schema.args()).get_matches_from(["millrace"]);
//! let env = [("MILLRACE_ORIGIN_LISTEN".to_string(), "0.0.0.0:80".to_string())];
//! let origin: Origin = schema.load(&flags, env)?.section("origin")?;
//! assert_eq!(origin.listen, "0.0.0.0:80");
//! # Ok::<(), millrace_node::config::ConfigError>(())
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command};
use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::shutdown::{EXIT_OK, EXIT_USAGE};
use view::{Origin, Setting};

const PREFIX: &str = "MILLRACE_";
const FILE_FLAG: &str = "config";
const FILE_VARIABLE: &str = "MILLRACE_CONFIG";

/// Why the configuration is none. All but the first two are the operator's to mend: exit code 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A section's defaults do not survive TOML: a fault of the program.
    #[error("the defaults of [{section}] are not valid: {reason}")]
    Defaults {
        /// The section.
        section: &'static str,
        /// What serde says.
        reason: String,
    },
    /// The docs and the struct do not match: a fault of the program.
    #[error("the docs of {key} and its struct do not match: {reason}")]
    Docs {
        /// The key.
        key: String,
        /// Which of the two lacks it.
        reason: &'static str,
    },
    /// The file cannot be read.
    #[error("config file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("config file {path} is not toml: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A key that nothing reads.
    #[error("unknown key {key} in {origin}; known here: {known}")]
    Unknown {
        /// The key, or the variable.
        key: String,
        /// The file, or the environment.
        origin: String,
        /// What could stand there.
        known: String,
    },
    /// A value of the wrong kind.
    #[error("{key}, set by {origin}, is not valid: {reason}")]
    Invalid {
        /// The key.
        key: String,
        /// The file, the variable or the flag.
        origin: String,
        /// What was expected.
        reason: String,
    },
}

/// A part of the configuration with one owner.
pub struct Section {
    name: &'static str,
    docs: &'static [(&'static str, &'static str)],
    secrets: &'static [&'static str],
    defaults: Table,
    check: fn(Table) -> Result<(), toml::de::Error>,
}

impl Section {
    /// The section `[name]`, read into `T`. `docs` gives each key, dotted from the section, and its meaning; a key that
    /// is documented is set as a whole, be it a list or a table, and the order of `docs` is the order everywhere.
    pub fn of<T: Serialize + DeserializeOwned + Default>(
        name: &'static str,
        docs: &'static [(&'static str, &'static str)],
    ) -> Result<Self, ConfigError> {
        let invalid = |reason: String| ConfigError::Defaults { section: name, reason };
        let defaults = Table::try_from(T::default()).map_err(|e| invalid(e.to_string()))?;
        let check = |table: Table| T::deserialize(table).map(|_| ());
        check(defaults.clone()).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { name, docs, secrets: &[], defaults, check })
    }

    /// Keys whose values are never told: passwords, and addresses that have one in them.
    pub fn with_secrets(mut self, keys: &'static [&'static str]) -> Self {
        self.secrets = keys;
        self
    }

    /// Every key has its doc and every doc its key.
    fn check_docs(&self) -> Result<(), ConfigError> {
        let mismatch = |key: &str, reason| ConfigError::Docs { key: format!("{}.{key}", self.name), reason };
        self.overlay(&self.defaults, "", &mut Table::new(), &mut |_, _| Ok(()))
            .map_err(|key| mismatch(&key, "the docs lack it"))?;
        if let Some(key) = self.secrets.iter().find(|key| !self.docs.iter().any(|(documented, _)| documented == *key)) {
            return Err(mismatch(key, "it is a secret that the docs lack"));
        }
        for (key, _) in self.docs {
            // A key without a default (an `Option`) must at least be one that the struct knows.
            if get(&self.defaults, key).is_none() {
                let mut probe = self.defaults.clone();
                set(&mut probe, key, Value::Boolean(true));
                if (self.check)(probe).is_err_and(|e| e.message().contains("unknown field")) {
                    return Err(mismatch(key, "the struct lacks it"));
                }
            }
        }
        Ok(())
    }

    /// Sets in `into` each documented key that `from` has; `Err` is the first key that nothing documents.
    fn overlay(
        &self,
        from: &Table,
        above: &str,
        into: &mut Table,
        each: &mut dyn FnMut(&str, &Table) -> Result<(), String>,
    ) -> Result<(), String> {
        for (name, value) in from {
            let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if self.docs.iter().any(|(documented, _)| *documented == key) {
                set(into, &key, value.clone());
                each(&key, into)?;
            } else {
                let below = format!("{key}.");
                match value {
                    Value::Table(table) if self.docs.iter().any(|(d, _)| d.starts_with(&below)) => {
                        self.overlay(table, &key, into, each)?;
                    }
                    _ => return Err(key),
                }
            }
        }
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.docs.iter().map(|(key, doc)| Key {
            full: format!("{}.{key}", self.name),
            key,
            doc,
            default: get(&self.defaults, key).map(Value::to_string),
        })
    }
}

/// One key with its spellings.
struct Key {
    full: String,
    key: &'static str,
    doc: &'static str,
    default: Option<String>,
}

impl Key {
    fn flag(&self) -> String {
        self.full.replace(['.', '_'], "-")
    }

    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.full.replace('.', "_").to_uppercase())
    }
}

/// All sections that a program reads.
pub struct Schema(Vec<Section>);

impl Schema {
    /// Checks that the docs are complete and that no two keys share a spelling.
    pub fn new(sections: Vec<Section>) -> Result<Self, ConfigError> {
        let mut seen = BTreeSet::new();
        for section in &sections {
            section.check_docs()?;
            for key in section.keys() {
                if !seen.insert(key.variable()) {
                    return Err(ConfigError::Docs { key: key.full, reason: "another key has the same variable" });
                }
            }
        }
        Ok(Self(sections))
    }

    /// A flag for each key, and `--config FILE`. The long help shows them, the short help does not.
    pub fn args(&self) -> Vec<Arg> {
        let file = Arg::new(FILE_FLAG)
            .long(FILE_FLAG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("The configuration file [env: {FILE_VARIABLE}]"));
        let keys = self.0.iter().flat_map(|section| section.keys().map(move |key| (section.name, key)));
        let flags = keys.map(|(section, key)| {
            let default = key.default.as_deref().unwrap_or("none");
            Arg::new(key.full.clone())
                .long(key.flag())
                .value_name("VALUE")
                .allow_hyphen_values(true)
                .hide_short_help(true)
                .help_heading(format!("[{section}]"))
                .help(format!("{} [env: {}] [default: {default}]", key.doc, key.variable()))
        });
        std::iter::once(file).chain(flags).collect()
    }

    /// Default, then file, then environment, then flags. `env` is [`environment`] but in tests.
    pub fn load(
        &self,
        flags: &ArgMatches,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let env: BTreeMap<String, String> = env.into_iter().collect();
        let mut tables = self.0.iter().map(|s| (s.name, s.defaults.clone())).collect();
        let mut origins = BTreeMap::new();
        let file = flags.get_one::<PathBuf>(FILE_FLAG).cloned();
        if let Some(path) = file.or_else(|| env.get(FILE_VARIABLE).map(PathBuf::from)) {
            self.read_file(&path, &mut tables, &mut origins)?;
        }
        self.refuse_unknown_variables(&env)?;
        for section in &self.0 {
            let table = tables.entry(section.name).or_default();
            for key in section.keys() {
                if let Some(text) = env.get(&key.variable()) {
                    apply(section, &key, text, key.variable(), table)?;
                    origins.insert(key.full.clone(), Origin::Environment(key.variable()));
                }
                if let Some(text) = flags.get_one::<String>(&key.full) {
                    apply(section, &key, text, format!("--{}", key.flag()), table)?;
                    origins.insert(key.full.clone(), Origin::Flag(format!("--{}", key.flag())));
                }
            }
        }
        let settings = self.settings(&tables, &origins);
        Ok(Config { tables, settings })
    }

    fn read_file(
        &self,
        path: &Path,
        tables: &mut BTreeMap<&'static str, Table>,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Result<(), ConfigError> {
        let origin = format!("config file {}", path.display());
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let file: Table = toml::from_str(&text)
            .map_err(|e| ConfigError::Syntax { path: path.to_owned(), reason: e.to_string().trim().to_owned() })?;
        for (name, value) in &file {
            let unknown = |key: String, known: String| ConfigError::Unknown { key, origin: origin.clone(), known };
            let found = self.0.iter().find(|s| s.name == name).zip(value.as_table());
            let Some((section, from)) = found else {
                let sections: Vec<_> = self.0.iter().map(|s| format!("[{}]", s.name)).collect();
                return Err(unknown(name.clone(), sections.join(", ")));
            };
            let mut invalid = None;
            let mut check = |key: &str, table: &Table| {
                origins.insert(format!("{name}.{key}"), Origin::File(path.display().to_string()));
                (section.check)(table.clone()).map_err(|e| {
                    invalid = Some(e.message().to_owned());
                    key.to_owned()
                })
            };
            let outcome = section.overlay(from, "", tables.entry(section.name).or_default(), &mut check);
            if let Err(key) = outcome {
                let key = format!("{name}.{key}");
                return Err(match invalid {
                    Some(reason) => ConfigError::Invalid { key, origin: origin.clone(), reason },
                    None => unknown(key, section.docs.iter().map(|(k, _)| *k).collect::<Vec<_>>().join(", ")),
                });
            }
        }
        Ok(())
    }

    /// A variable that begins like one of a section's is meant for it. Others, such as those of tests, are let be.
    fn refuse_unknown_variables(&self, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let all: BTreeSet<String> = self.0.iter().flat_map(|s| s.keys().map(|k| k.variable())).collect();
        for section in &self.0 {
            let prefix = format!("{PREFIX}{}_", section.name.to_uppercase());
            if let Some(name) = env.keys().find(|name| name.starts_with(&prefix) && !all.contains(*name)) {
                let known = section.keys().map(|k| k.variable()).collect::<Vec<_>>().join(", ");
                return Err(ConfigError::Unknown { key: name.clone(), origin: "the environment".into(), known });
            }
        }
        Ok(())
    }

    /// The reference of all keys in Markdown.
    pub fn reference(&self) -> String {
        let mut text = String::from(
            "# Configuration\n\nThe key `section.some.key` is `some.key` under `[section]` in the TOML file, \
             `MILLRACE_SECTION_SOME_KEY` in the\nenvironment and `--section-some-key` on the command line. A flag wins over \
             the environment, the environment over the file,\nthe file over the default. This page is made from the code.\n",
        );
        for section in &self.0 {
            let _ = writeln!(text, "\n## [{}]\n\n| key | default | meaning |\n| --- | --- | --- |", section.name);
            for key in section.keys() {
                let default = key.default.map_or("none".into(), |d| format!("`{}`", d.replace('|', "\\|")));
                let _ = writeln!(text, "| `{}` | {default} | {} |", key.key, key.doc.replace('|', "\\|"));
            }
        }
        text
    }

    /// A commented configuration file in which every key has its default.
    pub fn example(&self) -> String {
        let mut text = String::new();
        for section in &self.0 {
            let _ = writeln!(text, "[{}]", section.name);
            for key in section.keys() {
                let (comment, default) = key.default.map_or(("# ", String::new()), |d| ("", d));
                let _ = writeln!(text, "# {}\n{comment}{} = {default}", key.doc, key.key);
            }
            text.push('\n');
        }
        text
    }
}

/// What was configured, checked, with the defaults filled in.
#[derive(Debug, Clone)]
pub struct Config {
    tables: BTreeMap<&'static str, Table>,
    settings: Vec<Setting>,
}

impl Config {
    /// A section as its struct.
    pub fn section<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, ConfigError> {
        let table = self.tables.get(name).cloned().unwrap_or_default();
        T::deserialize(table).map_err(|e| ConfigError::Defaults { section: name, reason: e.message().to_owned() })
    }
}

impl Config {
    /// Every value, with where it comes from, and without what is secret.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}

/// Sets a key from text: as TOML where the key takes it, else as plain text.
fn apply(section: &Section, key: &Key, text: &str, origin: String, table: &mut Table) -> Result<(), ConfigError> {
    let as_toml = toml::from_str::<Table>(&format!("v = {text}")).ok().filter(|t| t.len() == 1);
    let as_toml = as_toml.and_then(|mut t| t.remove("v"));
    let mut reason = String::new();
    for value in as_toml.into_iter().chain([Value::String(text.to_owned())]) {
        let mut candidate = table.clone();
        set(&mut candidate, key.key, value);
        match (section.check)(candidate.clone()) {
            Ok(()) => {
                *table = candidate;
                return Ok(());
            }
            // What was wrong with it as TOML says more than that it is no string either.
            Err(e) if reason.is_empty() => reason = e.message().to_owned(),
            Err(_) => {}
        }
    }
    Err(ConfigError::Invalid { key: key.full.clone(), origin, reason })
}

fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => get(table.get(first)?.as_table()?, rest),
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// The process's variables that can be ours.
pub fn environment() -> Vec<(String, String)> {
    let ours = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    ours.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

/// Reads the command line. `Err` is the exit code once help, version or the error is printed: 0, or 64 for bad usage.
pub fn arguments(
    command: Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<ArgMatches, u8> {
    command.try_get_matches_from(args).map_err(|e| {
        let _ = e.print(); // nobody listens: the exit code still tells
        if e.use_stderr() { EXIT_USAGE } else { EXIT_OK }
    })
}

#[cfg(test)]
mod tests;
pub mod view;

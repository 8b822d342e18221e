//! What is true of an account at a moment, line by line: for people, and as JSON.

use alloy::primitives::U256;
use millrace_contracts::words::{decimal, moment};
use serde_json::{Map, Value, json};

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Of the chain's coin, wei.
    Coin(U256),
    /// Of the token, units of 10^-18.
    Mill(U256),
    /// Unix seconds; zero for never.
    Time(u64),
    /// How many.
    Count(u64),
    /// A name, an address, a hash.
    Text(String),
}

impl Cell {
    /// Anything that has words.
    pub fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// For people.
    pub fn show(&self, now: u64) -> String {
        match self {
            Self::Coin(wei) => decimal(*wei) + " ETH",
            Self::Mill(units) => decimal(*units) + " MILL",
            Self::Time(0) => "-".into(),
            Self::Time(at) => moment(*at, now),
            Self::Count(count) => count.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    /// For programs: what the key gets added, and the value.
    fn json(&self) -> (&'static str, Value) {
        match self {
            Self::Coin(wei) => ("_wei", json!(wei.to_string())),
            Self::Mill(units) => ("_units", json!(units.to_string())),
            Self::Time(0) => ("_at", Value::Null),
            Self::Time(at) => ("_at", json!(at)),
            Self::Count(count) => ("", json!(count)),
            Self::Text(text) => ("", json!(text)),
        }
    }
}

/// Figures with their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet(pub Vec<(&'static str, Cell)>);

impl Sheet {
    /// For programs. Coin is in `.._wei`, MILL in `.._units` of 10^-18, a moment in `.._at`.
    pub fn json(&self) -> Value {
        let entry = |(name, cell): &(&'static str, Cell)| {
            let (suffix, value) = cell.json();
            (name.replace(' ', "_") + suffix, value)
        };
        Value::Object(self.0.iter().map(entry).collect::<Map<_, _>>())
    }

    /// For people, one line each.
    pub fn show(&self, now: u64) -> String {
        self.0.iter().map(|(name, cell)| format!("  {name:<18} {}\n", cell.show(now))).collect()
    }

    /// The same, with what it was `before`.
    pub fn show_change(&self, before: &Self, now: u64) -> String {
        let line = |(name, cell): &(&'static str, Cell)| {
            let was = before.0.iter().find(|(other, _)| other == name).map(|(_, cell)| cell);
            let was =
                was.filter(|was| *was != cell).map(|was| format!("  (was {})", was.show(now))).unwrap_or_default();
            format!("  {name:<18} {}{was}\n", cell.show(now))
        };
        self.0.iter().map(line).collect()
    }
}

/// A table of sheets with the same names, for people.
pub fn table(sheets: &[Sheet], now: u64) -> String {
    let Some(first) = sheets.first() else { return "  none\n".into() };
    let header: Vec<String> = first.0.iter().map(|(name, _)| (*name).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(sheets.iter().map(|sheet| sheet.0.iter().map(|(_, cell)| cell.show(now)).collect()))
        .collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..first.0.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The same for programs.
pub fn list(sheets: &[Sheet]) -> Value {
    Value::Array(sheets.iter().map(Sheet::json).collect())
}

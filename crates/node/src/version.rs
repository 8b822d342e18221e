//! Which build this is.

/// The version of the workspace, such as "0.1.0".
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, when the builder said so in `MILLRACE_COMMIT`, else "unknown". It is not asked of git:
/// every commit would rebuild this crate and all that use it.
pub const COMMIT: &str = match option_env!("MILLRACE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Both in one line, as `--version` prints it.
pub fn long() -> String {
    format!("{VERSION} (commit {COMMIT})")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_names_the_release_and_the_commit() {
        let long = super::long();
        assert!(long.starts_with(env!("CARGO_PKG_VERSION")) && long.contains(super::COMMIT), "{long}");
    }
}

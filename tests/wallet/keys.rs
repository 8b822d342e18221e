//! Keys: made, taken in, encrypted; and what must never be seen of them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use alloy::hex;

use crate::{address, key, millrace, secret};

const PASSPHRASE: &str = "the river under the wheel";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        secret(&folder.0.path().join("passphrase"), &format!("{PASSPHRASE}\n"));
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A command about `key`, under the passphrase in the file `passphrase`.
    fn run(&self, command: &str, passphrase: &str, stdin: &str) -> crate::Ran {
        let ran = millrace(
            &["wallet", command, "--keystore", &self.path("key"), "--passphrase-file", &self.path(passphrase)],
            stdin,
        );
        let seen = format!("{}{}", ran.out, ran.err);
        let plain = hex::encode(key("alice").to_bytes());
        assert!(!seen.contains(PASSPHRASE) && !seen.contains(&plain), "a secret is shown: {seen}");
        ran
    }
}

#[test]
fn a_new_key_is_a_keystore_that_only_its_passphrase_opens() {
    let folder = Folder::new();
    let said = folder.run("new", "passphrase", "").done();
    let path = folder.0.path().join("key");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"version\": 3"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mine = folder.run("address", "passphrase", "").done();
    assert!(mine.starts_with("0x") && said.contains(mine.trim()), "{said}");
    folder.run("new", "passphrase", "").refused("never overwritten");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "a second `new` leaves the first key alone");
}

#[test]
fn a_key_is_taken_in_from_standard_input() {
    let folder = Folder::new();
    folder.run("import", "passphrase", "not a key").refused("no private key");
    assert!(!folder.0.path().join("key").exists());
    let plain = hex::encode(key("alice").to_bytes());
    assert!(folder.run("import", "passphrase", &plain).done().contains(&address("alice")));
    assert!(!std::fs::read_to_string(folder.0.path().join("key")).unwrap().contains(&plain));
}

#[test]
fn a_plain_key_works_with_a_warning_until_it_is_encrypted_in_place() {
    let folder = Folder::new();
    secret(&folder.0.path().join("key"), &hex::encode(key("alice").to_bytes()));
    let ran = folder.run("address", "passphrase", "");
    assert!(ran.err.contains("millrace wallet encrypt"), "{}", ran.err);
    assert_eq!(ran.done().trim(), address("alice"));

    folder.run("encrypt", "passphrase", "").done();
    let ran = folder.run("address", "passphrase", "");
    assert_eq!((ran.err.as_str(), ran.out.trim()), ("", address("alice").as_str()));
    folder.run("encrypt", "passphrase", "").refused("encrypted already");
}

#[test]
fn a_wrong_passphrase_a_broken_file_and_an_open_one_are_each_named() {
    let place = crate::Place::new();
    let folder = Folder::new();
    let plain = hex::encode(key("alice").to_bytes());
    folder.run("import", "passphrase", &plain).done();
    let whole = std::fs::read_to_string(folder.0.path().join("key")).unwrap();
    let url = place.devnet.rpc_url();
    let book = place.path("book.json");
    // What signs has to open the key.
    let send = |passphrase: Option<&str>| {
        let (to, key) = (address("bob"), folder.path("key"));
        let mut arguments = vec!["wallet", "send", &to, "1wei", "--rpc-url", &url, "--keystore", &key, "--yes"];
        let passphrase = passphrase.map(|name| folder.path(name));
        arguments.extend(["--address-book", book.to_str().unwrap()]);
        if let Some(passphrase) = &passphrase {
            arguments.extend(["--passphrase-file", passphrase]);
        }
        let ran = millrace(&arguments, "");
        assert!(!format!("{}{}", ran.out, ran.err).contains(PASSPHRASE));
        ran
    };
    send(Some("passphrase")).done();
    send(None).refused("--passphrase-file");
    secret(&folder.0.path().join("wrong"), "the river over the wheel");
    send(Some("wrong")).refused("the passphrase is wrong");
    secret(&folder.0.path().join("empty"), "\n");
    send(Some("empty")).refused("is empty");
    send(Some("missing")).refused("missing");

    let open = folder.0.path().join("passphrase");
    std::fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    send(Some("passphrase")).refused("chmod 600");
    std::fs::set_permissions(&open, Permissions::from_mode(0o600)).unwrap();

    let path = folder.0.path().join("key");
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    send(Some("passphrase")).refused("chmod 600");
    secret(&path, &whole[..whole.len() / 2]);
    send(Some("passphrase")).refused("not a whole keystore");
    secret(&path, "5ec7e7");
    let ran = send(Some("passphrase"));
    assert!(!ran.err.contains("5ec7e7"), "{}", ran.err);
    ran.refused("does not hold a private key");
}

//! Makes sure that the folder of the built console exists, so that it can be embedded (or found empty), and rebuilds this
//! crate when the console changes.

fn main() {
    let dist = "../../web/dist";
    // Without the folder `src/console.rs` still builds; the page then says how to build the console.
    let _ = std::fs::create_dir_all(dist);
    println!("cargo::rerun-if-changed={dist}");
    println!("cargo::rerun-if-env-changed=MILLRACE_COMMIT");
}

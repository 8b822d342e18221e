//! A node's database, from the command line.

use std::path::Path;

use millrace_hop::account::DATABASE;
use millrace_node::sections::NodeConfig;
use millrace_store::Store;

use crate::Failure;

/// Does something with the node's database, while the node runs or not.
pub fn with_store<T>(node: &NodeConfig, act: impl AsyncFnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let database = Path::new(&node.data_dir).join(DATABASE);
        if !database.exists() {
            let path = database.display();
            return Err(Failure::usage(format!(
                "there is no {path}: start the node once, what is made here it takes while it runs"
            )));
        }
        let store = Store::open(&database.to_string_lossy()).await?;
        let done = act(&store).await;
        store.close().await;
        done
    })
}

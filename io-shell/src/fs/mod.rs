//! The disk: what the core asks of a folder's tree, carried out by blocking calls on worker threads.
//!
//! Every path is resolved beneath the root's descriptor by `openat2` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and
//! `RESOLVE_NO_XDEV`, so neither a symbolic link nor a mount inside the folder leads out of it. Linux only.
//!
//! The root's descriptor is opened, and checked to be the folder's, for each call: a folder that is at rest holds no
//! descriptor on its file system, so a removable disk can be unmounted while the daemon runs.
//!
//! ```text
//! ROOT/.landropic/          0700, never synced
//!     folder                the marker: the folder's id in hexadecimal
//!     stage/<content>       files on their way in
//!     trash/<ns>-<n>/       what one batch displaced: see `trash`
//! ```

mod apply;
mod buffer;
mod chunk;
mod dirs;
pub mod door;
mod errors;
mod lists;
mod probe;
mod reuse;
mod root;
mod scan;
mod serve;
mod stage;
mod stat;
mod trash;
mod watch;

pub use apply::apply;
pub use buffer::{Buffer, Buffers};
pub use chunk::chunk_list;
pub use lists::Lists;
pub use probe::probe;
pub use reuse::{basis_list, reuse};
pub use root::{Root, RootError};
pub use scan::{Found, scan};
pub use serve::{open_source, source_list};
pub use stage::{StageError, StageFile, copy, finish, seal, stage_small, sweep, unstage};
pub use trash::{Trashed, list_trash, purge_trash, salvage};
pub use watch::FsWatch;

//! Control groups: where they are mounted, the tree, each one's account.
//!
//! Accounts are those of version 2. Of version 1 only the paths, our own limit and the
//! processes of the memory hierarchy are read, and nothing is ever written.

pub mod descendants;
pub mod events;
pub mod growth;
pub mod limit;
pub mod memory;
pub mod mount;
pub mod own_limit;
pub mod processes;
pub mod stat;
pub mod tree;

pub use growth::{CgroupGrowth, read_dying, read_growth_tree};
pub use memory::read_cgroup;
pub use mount::{NoV2Memory, find_cgroup_mode, open_process_hierarchy, v2_memory};
pub use processes::{read_processes_of, read_subtree_processes};
pub use tree::{CgroupTree, TreeBounds, read_tree};

//! From the tree as it is and the tree as it is wanted to operations.

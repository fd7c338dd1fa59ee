//! What two devices tell each other about a folder.

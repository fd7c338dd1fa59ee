//! Links to other devices: dialling, handshake, heartbeat.

//! What the program knows, free of I/O: no files, no sockets, no async. Every decision that matters
//! is a pure function here, with a table of tests beside it.

pub mod activity;
pub mod alert;
pub mod balance;
pub mod captcha;
pub mod clock;
pub mod dead_letter;
pub mod delivery;
pub mod error_code;
pub mod fallback;
pub mod marzban;
pub mod notice;
pub mod notification;
pub mod task;
pub mod time;

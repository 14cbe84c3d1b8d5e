//! Keeps the results that `CaptchaAI` sends, and shows what happens to a Prometheus server.
//!
//! Reading order: [`domain`] says what things are, [`config`] how the program is set up, [`store`] how
//! nothing is lost, [`captchaai`] how the account is asked, [`http`] what the outside world can
//! call, [`metrics`] what Prometheus sees, [`app`] how it is all put together, [`demo`] what it looks
//! like without an account. Dependencies point one way; `tests/it/layers.rs` holds that.

pub mod app;
pub mod captchaai;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod store;

//! Rules and what follows from them.
//!
//! [`RuleManager`] evaluates groups on their schedule, writes their series and drives the alert
//! state machine; [`Notifier`] takes alerts to external Alertmanagers and to our own receivers.

mod config;
mod manager;
mod notifier;
mod rule_file;
mod status;

pub use config::{AlertmanagerTarget, Receiver, Route, RoutingConfig, WebhookReceiver};
pub use manager::{RuleManager, RuleManagerOptions};
pub use notifier::{DeliveryStatus, Notifier, NotifierOptions};
pub use rule_file::{Rule, RuleFile, RuleFileError, RuleGroup, RuleKind};
pub use status::{AlertState, AlertStatus, GroupStatus, RuleHealth, RuleStatus};

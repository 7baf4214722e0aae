//! The configuration that is used where there is none: this server and this host, every 5 s.

/// How messages call it.
pub(super) const NAME: &str = "(built-in configuration)";

/// What it is made from.
#[derive(Clone, Debug)]
pub(crate) struct Builtin {
    /// This host's name: the label `instance` of job `node`.
    pub(crate) hostname: String,
    /// The port this server listens on.
    pub(crate) port: u16,
}

impl Builtin {
    /// The file as one would write it.
    pub(crate) fn text(&self) -> String {
        // Names and values come from the system: quoted, so that none reads as anything else.
        let hostname: String = self
            .hostname
            .chars()
            .filter(|ch| ch.is_ascii_alphanumeric() || ".-_".contains(*ch))
            .collect();
        let hostname = if hostname.is_empty() {
            "localhost".into()
        } else {
            hostname
        };
        let port = self.port;
        format!(
            "global:\n\
             \x20 scrape_interval: 5s\n\
             \x20 evaluation_interval: 5s\n\
             scrape_configs:\n\
             \x20 - job_name: barograph\n\
             \x20   scheme: barograph\n\
             \x20   metrics_path: /self\n\
             \x20   static_configs:\n\
             \x20     - targets: ['localhost:{port}']\n\
             \x20 - job_name: node\n\
             \x20   scheme: barograph\n\
             \x20   metrics_path: /host\n\
             \x20   static_configs:\n\
             \x20     - targets: ['{hostname}']\n"
        )
    }
}

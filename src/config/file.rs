//! `prometheus.yml` as written. Every field is optional here; [`resolve`](super::resolve) fills in
//! what is missing and checks what spans several fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::opaque::Opaque;
use super::scalar::{
    ActionText, ApiVersion, DurationMs, Escaping, OneOf, Protocol, RegexText, Scheme, SecretText,
    SizeBytes, TlsVersion, Validation, WebScheme,
};

/// Declares a section: every field optional, unknown fields refused.
macro_rules! section {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $($(#[$field_meta])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) $field: Option<$type>,)*
        })*
    };
}

/// Declares a section that asks servers it discovers over HTTP: the fields given, those of an HTTP
/// client, and one list per kind of discovery.
macro_rules! discovering_section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        discovering_section! { @with_discovery $(#[$meta])* $name { $($(#[$field_meta])* $field: $type,)* }
            azure_sd_configs aws_sd_configs consul_sd_configs digitalocean_sd_configs dns_sd_configs
            docker_sd_configs dockerswarm_sd_configs ec2_sd_configs ecs_sd_configs elasticache_sd_configs
            eureka_sd_configs gce_sd_configs hetzner_sd_configs http_sd_configs ionos_sd_configs
            kubernetes_sd_configs kuma_sd_configs lightsail_sd_configs linode_sd_configs
            marathon_sd_configs msk_sd_configs nerve_sd_configs nomad_sd_configs oci_sd_configs
            openstack_sd_configs outscale_sd_configs ovhcloud_sd_configs puppetdb_sd_configs
            rds_sd_configs scaleway_sd_configs serverset_sd_configs stackit_sd_configs
            triton_sd_configs uyuni_sd_configs vultr_sd_configs
        }
    };
    (@with_discovery $(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* } $($discovery:ident)*) => {
        section! {
            $(#[$meta])*
            $name {
                $($(#[$field_meta])* $field: $type,)*
                /// User and password.
                basic_auth: BasicAuth,
                /// Type and credentials.
                authorization: Authorization,
                /// OAuth 2.
                oauth2: Opaque,
                /// The older way to write a bearer token.
                bearer_token: SecretText,
                /// The older way to name a file with a bearer token.
                bearer_token_file: String,
                /// Whether redirects are followed.
                follow_redirects: bool,
                /// Whether HTTP/2 is offered.
                enable_http2: bool,
                /// TLS.
                tls_config: TlsConfig,
                /// A proxy's URL.
                proxy_url: String,
                /// Hosts that are asked without the proxy.
                no_proxy: String,
                /// Whether the environment names the proxy.
                proxy_from_environment: bool,
                /// Headers for the proxy.
                proxy_connect_header: Opaque,
                /// Additional headers.
                http_headers: BTreeMap<String, Header>,
                /// Targets written here.
                static_configs: Vec<StaticConfig>,
                /// Targets in watched files.
                file_sd_configs: Vec<FileSdConfig>,
                $(
                /// Discovery that is not built.
                $discovery: Opaque,)*
            }
        }

        impl $name {
            /// The HTTP client's part.
            pub(crate) fn http(&self) -> HttpFields<'_> {
                HttpFields {
                    basic_auth: self.basic_auth.as_ref(),
                    authorization: self.authorization.as_ref(),
                    bearer_token: self.bearer_token.as_ref(),
                    bearer_token_file: self.bearer_token_file.as_deref(),
                    follow_redirects: self.follow_redirects.unwrap_or(true),
                    tls: self.tls_config.as_ref(),
                    proxy_url: self.proxy_url.as_deref(),
                    headers: self.http_headers.as_ref(),
                    not_built: [
                        ("oauth2", self.oauth2.is_some()),
                        ("no_proxy", self.no_proxy.is_some()),
                        ("proxy_from_environment", self.proxy_from_environment == Some(true)),
                        ("proxy_connect_header", self.proxy_connect_header.is_some()),
                    ],
                }
            }

            /// Kinds of discovery that are asked for and not built, with how many entries each has.
            pub(crate) fn discovery_not_built(&self) -> Vec<(&'static str, usize)> {
                let mut found = Vec::new();
                $(if let Some(entries) = &self.$discovery && entries.len() > 0 {
                    found.push((stringify!($discovery), entries.len()));
                })*
                found
            }
        }
    };
}

/// The part of a section that says how to ask over HTTP.
pub(crate) struct HttpFields<'a> {
    /// User and password.
    pub(crate) basic_auth: Option<&'a BasicAuth>,
    /// Type and credentials.
    pub(crate) authorization: Option<&'a Authorization>,
    /// The older way to write a bearer token.
    pub(crate) bearer_token: Option<&'a SecretText>,
    /// The older way to name a file with a bearer token.
    pub(crate) bearer_token_file: Option<&'a str>,
    /// Whether redirects are followed.
    pub(crate) follow_redirects: bool,
    /// TLS.
    pub(crate) tls: Option<&'a TlsConfig>,
    /// A proxy's URL.
    pub(crate) proxy_url: Option<&'a str>,
    /// Additional headers.
    pub(crate) headers: Option<&'a BTreeMap<String, Header>>,
    /// Fields that are not built, and whether each is used.
    pub(crate) not_built: [(&'static str, bool); 4],
}

section! {
    /// A file that says how to ask servers, as `--http.config.file` names it.
    HttpClientFile {
        /// User and password.
        basic_auth: BasicAuth,
        /// Type and credentials.
        authorization: Authorization,
        /// OAuth 2.
        oauth2: Opaque,
        /// The older way to write a bearer token.
        bearer_token: SecretText,
        /// The older way to name a file with a bearer token.
        bearer_token_file: String,
        /// Whether redirects are followed.
        follow_redirects: bool,
        /// Whether HTTP/2 is offered.
        enable_http2: bool,
        /// TLS.
        tls_config: TlsConfig,
        /// A proxy's URL.
        proxy_url: String,
        /// Hosts that are asked without the proxy.
        no_proxy: String,
        /// Whether the environment names the proxy.
        proxy_from_environment: bool,
        /// Headers for the proxy.
        proxy_connect_header: Opaque,
        /// Additional headers.
        http_headers: BTreeMap<String, Header>,
    }
}

impl HttpClientFile {
    /// The HTTP client's part.
    pub(crate) fn http(&self) -> HttpFields<'_> {
        HttpFields {
            basic_auth: self.basic_auth.as_ref(),
            authorization: self.authorization.as_ref(),
            bearer_token: self.bearer_token.as_ref(),
            bearer_token_file: self.bearer_token_file.as_deref(),
            follow_redirects: self.follow_redirects.unwrap_or(true),
            tls: self.tls_config.as_ref(),
            proxy_url: self.proxy_url.as_deref(),
            headers: self.http_headers.as_ref(),
            not_built: [
                ("oauth2", self.oauth2.is_some()),
                ("no_proxy", self.no_proxy.is_some()),
                (
                    "proxy_from_environment",
                    self.proxy_from_environment == Some(true),
                ),
                ("proxy_connect_header", self.proxy_connect_header.is_some()),
            ],
        }
    }
}

section! {
    /// The whole file.
    File {
        /// Defaults of all jobs and rules.
        global: Global,
        /// Go's runtime: nothing here for it.
        runtime: Opaque,
        /// Where alerts go.
        alerting: Alerting,
        /// Rule files; globs.
        rule_files: Vec<Spanned<String>>,
        /// Files with further jobs; globs.
        scrape_config_files: Vec<Spanned<String>>,
        /// Jobs.
        scrape_configs: Vec<Spanned<ScrapeJob>>,
        /// The store.
        storage: Storage,
        /// Tracing.
        tracing: Opaque,
        /// Remote write.
        remote_write: Opaque,
        /// Remote read.
        remote_read: Opaque,
        /// OTLP.
        otlp: Opaque,
    }

    /// A file that `scrape_config_files` names.
    JobsFile {
        /// Jobs.
        scrape_configs: Vec<Spanned<ScrapeJob>>,
    }

    /// Defaults of all jobs and rules.
    Global {
        /// Time between scrapes.
        scrape_interval: DurationMs,
        /// Time a scrape may take.
        scrape_timeout: Spanned<DurationMs>,
        /// Formats offered, best first.
        scrape_protocols: Spanned<Vec<OneOf<Protocol>>>,
        /// Time between evaluations.
        evaluation_interval: DurationMs,
        /// How far back rules look.
        rule_query_offset: DurationMs,
        /// Labels of everything that leaves this server.
        external_labels: BTreeMap<String, String>,
        /// Where queries are logged.
        query_log_file: String,
        /// Where failed scrapes are logged.
        scrape_failure_log_file: String,
        /// Most bytes of a body.
        body_size_limit: SizeBytes,
        /// Most samples of a scrape.
        sample_limit: u64,
        /// Most targets of a job.
        target_limit: u64,
        /// Most labels of a sample.
        label_limit: u64,
        /// Most bytes of a label name.
        label_name_length_limit: u64,
        /// Most bytes of a label value.
        label_value_length_limit: u64,
        /// Most dropped targets remembered per job.
        keep_dropped_targets: u64,
        /// Which metric names are valid.
        metric_name_validation_scheme: OneOf<Validation>,
        /// How names are escaped.
        metric_name_escaping_scheme: OneOf<Escaping>,
        /// Native histograms.
        scrape_native_histograms: bool,
        /// Conversion of classic histograms.
        convert_classic_histograms_to_nhcb: bool,
        /// Classic histograms beside native ones.
        always_scrape_classic_histograms: bool,
        /// Three more `scrape_*` series.
        extra_scrape_metrics: bool,
    }

    /// Where alerts go.
    Alerting {
        /// Rules alerts pass before they are sent.
        alert_relabel_configs: Vec<Spanned<Relabel>>,
        /// Alertmanagers.
        alertmanagers: Vec<Spanned<Alertmanager>>,
    }

    /// The store.
    Storage {
        /// Its time series.
        tsdb: Tsdb,
        /// Its exemplars.
        exemplars: Exemplars,
    }

    /// The store's exemplars.
    Exemplars {
        /// How many are kept; 0 or less: none.
        max_exemplars: i64,
    }

    /// The store's time series.
    Tsdb {
        /// How far behind a sample may come.
        out_of_order_time_window: DurationMs,
        /// Compaction of stale series.
        stale_series_compaction_threshold: f64,
        /// Encodings of Prometheus's chunks: nothing here for it.
        chunk_encoding: Opaque,
        /// How much is kept.
        retention: Retention,
    }

    /// How much is kept.
    Retention {
        /// For how long.
        time: DurationMs,
        /// How many bytes.
        size: SizeBytes,
        /// Which share of the disk.
        percentage: Spanned<f64>,
    }

    /// One relabelling rule.
    Relabel {
        /// Labels whose values are joined.
        source_labels: Vec<String>,
        /// Stands between them.
        separator: String,
        /// What is matched.
        regex: RegexText,
        /// For `hashmod`.
        modulus: u64,
        /// What is written to.
        target_label: String,
        /// What is written.
        replacement: String,
        /// What is done.
        action: ActionText,
    }

    /// HTTP basic authentication.
    BasicAuth {
        /// The user.
        username: String,
        /// A file that holds the user.
        username_file: String,
        /// The password.
        password: SecretText,
        /// A file that holds the password.
        password_file: String,
    }

    /// The Authorization header.
    Authorization {
        /// Its first word.
        r#type: String,
        /// What follows.
        credentials: SecretText,
        /// A file that holds what follows.
        credentials_file: String,
    }

    /// TLS.
    TlsConfig {
        /// Roots, inline.
        ca: String,
        /// Our certificate, inline.
        cert: String,
        /// Its key, inline.
        key: SecretText,
        /// Roots.
        ca_file: String,
        /// Our certificate.
        cert_file: String,
        /// Its key.
        key_file: String,
        /// The name to expect.
        server_name: String,
        /// Whether any certificate will do.
        insecure_skip_verify: bool,
        /// Least version.
        min_version: OneOf<TlsVersion>,
        /// Greatest version.
        max_version: OneOf<TlsVersion>,
    }

    /// Values of one additional header.
    Header {
        /// Written here.
        values: Vec<String>,
        /// Written here, not shown.
        secrets: Vec<SecretText>,
        /// In files.
        files: Vec<String>,
    }

    /// Targets that share labels.
    StaticConfig {
        /// Addresses.
        targets: Vec<Spanned<String>>,
        /// Their labels.
        labels: BTreeMap<String, String>,
    }

    /// Targets in watched files.
    FileSdConfig {
        /// The files; globs in the last part.
        files: Vec<Spanned<String>>,
        /// How often they are read at least.
        refresh_interval: DurationMs,
    }
}

discovering_section! {
    /// One job.
    ScrapeJob {
        /// Its name.
        job_name: Spanned<String>,
        /// Whether the target's own labels win.
        honor_labels: bool,
        /// Whether the target's own timestamps are used.
        honor_timestamps: bool,
        /// Whether series with timestamps of their own get staleness markers.
        track_timestamps_staleness: bool,
        /// Query parameters.
        params: BTreeMap<String, Vec<String>>,
        /// Time between scrapes.
        scrape_interval: DurationMs,
        /// Time a scrape may take.
        scrape_timeout: Spanned<DurationMs>,
        /// Formats offered, best first.
        scrape_protocols: Spanned<Vec<OneOf<Protocol>>>,
        /// Format to assume where the target names none.
        fallback_scrape_protocol: OneOf<Protocol>,
        /// Native histograms.
        scrape_native_histograms: bool,
        /// Classic histograms beside native ones.
        always_scrape_classic_histograms: bool,
        /// Conversion of classic histograms.
        convert_classic_histograms_to_nhcb: bool,
        /// Where failed scrapes are logged.
        scrape_failure_log_file: String,
        /// Path on the target; for scheme `barograph`, the collector.
        metrics_path: Spanned<String>,
        /// How targets are reached.
        scheme: OneOf<Scheme>,
        /// Whether to ask for gzip.
        enable_compression: bool,
        /// Most bytes of a body.
        body_size_limit: SizeBytes,
        /// Most samples of a scrape.
        sample_limit: u64,
        /// Most targets.
        target_limit: u64,
        /// Most labels of a sample.
        label_limit: u64,
        /// Most bytes of a label name.
        label_name_length_limit: u64,
        /// Most bytes of a label value.
        label_value_length_limit: u64,
        /// Most buckets of a native histogram.
        native_histogram_bucket_limit: u64,
        /// Least growth of a native histogram's buckets.
        native_histogram_min_bucket_factor: f64,
        /// Most dropped targets remembered.
        keep_dropped_targets: u64,
        /// Which metric names are valid.
        metric_name_validation_scheme: OneOf<Validation>,
        /// How names are escaped.
        metric_name_escaping_scheme: OneOf<Escaping>,
        /// Three more `scrape_*` series.
        extra_scrape_metrics: bool,
        /// Rules that make target labels.
        relabel_configs: Vec<Spanned<Relabel>>,
        /// Rules each sample passes.
        metric_relabel_configs: Vec<Spanned<Relabel>>,
    }
}

discovering_section! {
    /// A set of Alertmanagers.
    Alertmanager {
        /// AWS signatures.
        sigv4: Opaque,
        /// How they are reached.
        scheme: OneOf<WebScheme>,
        /// What stands before `/api/v2/alerts`.
        path_prefix: String,
        /// Time an attempt may take.
        timeout: DurationMs,
        /// Version of their API.
        api_version: OneOf<ApiVersion>,
        /// Rules that make their addresses.
        relabel_configs: Vec<Spanned<Relabel>>,
        /// Rules alerts for them pass.
        alert_relabel_configs: Vec<Spanned<Relabel>>,
    }
}

/// The entries of an optional list.
pub(crate) fn entries<T>(list: Option<&Vec<T>>) -> &[T] {
    list.map_or(&[], Vec::as_slice)
}

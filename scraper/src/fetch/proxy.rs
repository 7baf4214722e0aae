//! Targets behind a proxy: asked with a pooled client, which knows proxies.

use reqwest::Url;

use super::tls::TlsFiles;
use super::{Answer, JobClient, Progress, redirect};
use crate::error::ScrapeError;
use crate::target::Target;

/// The client of a job with a proxy.
pub(super) struct ProxyClient {
    client: reqwest::Client,
}

impl ProxyClient {
    /// A client that sends everything through `url`.
    ///
    /// # Errors
    /// The URL or the TLS files cannot be used, in words.
    pub(super) fn new(url: &str, tls: &TlsFiles) -> Result<Self, String> {
        let proxy = reqwest::Proxy::all(url).map_err(|error| format!("proxy_url: {error}"))?;
        let tls = (*tls.client_config()?).clone();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .proxy(proxy)
            // Followed here, so that credentials stay with their host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("proxy_url: {error}"))?;
        Ok(Self { client })
    }

    /// Gets the target's page.
    ///
    /// # Errors
    /// As for a direct connection.
    pub(super) async fn get(
        &self,
        job: &JobClient,
        target: &Target,
        progress: &Progress,
    ) -> Result<Answer, ScrapeError> {
        let fail = |error: &dyn std::error::Error| {
            let mut reason = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                reason.push_str(": ");
                reason.push_str(&cause.to_string());
                source = cause.source();
            }
            ScrapeError::Http {
                url: target.endpoint.url.clone(),
                reason,
            }
        };
        let first = Url::parse(&target.endpoint.url).map_err(|error| fail(&error))?;
        let mut url = first.clone();
        for _ in 0..=redirect::REDIRECTS_LIMIT {
            let trusted = redirect::keeps_credentials(&first, &url);
            let headers = job.headers.of_request(target.timeout_ms, trusted).await?;
            progress.set("the proxy brought no answer yet");
            let request = self.client.get(url.clone()).headers(headers);
            let mut response = request.send().await.map_err(|error| fail(&error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            if let Some(next) = redirect::target(status, &headers, &url)
                && job.follow_redirects
            {
                url = next;
                continue;
            }
            let mut raw = Vec::new();
            if status == http::StatusCode::OK {
                progress.set("the answer began, but its body does not end");
                while let Some(data) = response.chunk().await.map_err(|error| fail(&error))? {
                    if (raw.len() + data.len()) as u64 >= job.body_limit {
                        return Err(job.body_limit_error());
                    }
                    raw.extend_from_slice(&data);
                }
            }
            return Ok(Answer {
                status,
                headers,
                raw,
            });
        }
        Err(ScrapeError::Http {
            url: target.endpoint.url.clone(),
            reason: format!("stopped after {} redirects", redirect::REDIRECTS_LIMIT),
        })
    }
}

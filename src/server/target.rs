//! Request targets as people type them.
//!
//! `curl -g 'localhost:9090/api/v1/series?match[]=up{job="x"}'` sends its quotes as they are, and
//! Prometheus's own documentation shows such commands. They are not allowed in a request target
//! (RFC 9112, section 3.2) and the HTTP library refuses them, so they are escaped on the way in.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest method looked for.
const METHOD_LIMIT_BYTES: u8 = 8;

/// A connection whose requests have their targets escaped. Nothing else is changed.
pub(super) struct EscapedTargets<S> {
    inner: S,
    place: Place,
    /// Escaped bytes that did not fit where they were asked for, and how many of them are taken.
    waiting: Vec<u8>,
    taken: usize,
}

/// Where in a request the next byte read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the method, after so many bytes of it.
    Method(u8),
    /// At the first byte of the target.
    TargetBegins,
    Target,
    /// Behind the target, or in something that is no request.
    Behind,
}

impl<S> EscapedTargets<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            place: Place::Method(0),
            waiting: Vec::new(),
            taken: 0,
        }
    }

    /// After a reply the next request may begin; what is no method is left as it is.
    fn replied(&mut self) {
        if self.place == Place::Behind {
            self.place = Place::Method(0);
        }
    }
}

impl Place {
    /// Goes past a byte. Returns what stands for it where it must be escaped.
    fn step(&mut self, byte: u8) -> Option<&'static [u8; 3]> {
        *self = match (*self, byte) {
            (Self::Method(0), b'\r' | b'\n') => Self::Method(0),
            (Self::Method(length), b'A'..=b'Z') if length < METHOD_LIMIT_BYTES => {
                Self::Method(length + 1)
            }
            (Self::Method(1..), b' ') => Self::TargetBegins,
            (Self::Target, b' ' | b'\r' | b'\n') => Self::Behind,
            (Self::TargetBegins, b'/') | (Self::Target, _) => Self::Target,
            _ => Self::Behind,
        };
        match (*self, byte) {
            (Self::Target, b'"') => Some(b"%22"),
            (Self::Target, b'<') => Some(b"%3C"),
            (Self::Target, b'>') => Some(b"%3E"),
            _ => None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EscapedTargets<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.waiting.len() {
            this.waiting.clear();
            this.taken = 0;
            let before = out.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, out))?;
            let read = &out.filled()[before..];
            // Where the first byte to be escaped is, if there is one.
            let mut clean = 0;
            while this.place != Place::Behind && clean < read.len() {
                let Some(escaped) = this.place.step(read[clean]) else {
                    clean += 1;
                    continue;
                };
                this.waiting.extend_from_slice(escaped);
                for byte in &read[clean + 1..] {
                    match this.place.step(*byte) {
                        Some(escaped) => this.waiting.extend_from_slice(escaped),
                        None => this.waiting.push(*byte),
                    }
                }
                out.set_filled(before + clean);
                break;
            }
            if this.waiting.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        let rest = &this.waiting[this.taken..];
        let fits = rest.len().min(out.remaining());
        out.put_slice(&rest[..fits]);
        this.taken += fits;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EscapedTargets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.replied();
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.replied();
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What arrives of these bytes, sent in pieces of a size and read in pieces of another.
    async fn arrives(sent: &[u8], sent_at_once: usize, read_at_once: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut server = EscapedTargets::new(server);
        let mut got = Vec::new();
        for piece in sent.chunks(sent_at_once) {
            client.write_all(piece).await.expect("room");
            if sent_at_once < sent.len() {
                let mut part = vec![0; read_at_once];
                let length = server.read(&mut part).await.expect("reads");
                got.extend_from_slice(&part[..length]);
            }
        }
        drop(client);
        let mut part = vec![0; read_at_once];
        loop {
            match server.read(&mut part).await.expect("reads") {
                0 => return got,
                length => got.extend_from_slice(&part[..length]),
            }
        }
    }

    #[tokio::test]
    async fn targets_are_escaped_and_nothing_else_is() {
        let sent = b"POST /q?a={b=\"c\"}>1 HTTP/1.1\r\nX: \"<>\"\r\n\r\n\"body\" GET /\"";
        let want = b"POST /q?a={b=%22c%22}%3E1 HTTP/1.1\r\nX: \"<>\"\r\n\r\n\"body\" GET /\"";
        for sent_at_once in [1, 2, 7, 19, 1000] {
            for read_at_once in [1, 3, 64] {
                let got = arrives(sent, sent_at_once, read_at_once).await;
                assert_eq!(got, want, "{sent_at_once} {read_at_once}");
            }
        }
        for other in ["\"GET /\"", "get /\" x", "GET \"/\" x", "LONGMETHOD /\" x"] {
            assert_eq!(arrives(other.as_bytes(), 100, 5).await, other.as_bytes());
        }
    }

    #[tokio::test]
    async fn the_request_after_a_reply_is_looked_at_again() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let mut server = EscapedTargets::new(server);
        let mut page = [0; 100];
        for _ in 0..2 {
            client
                .write_all(b"GET /\"< HTTP/1.1\r\n\r\n")
                .await
                .expect("room");
            let length = server.read(&mut page).await.expect("reads");
            assert_eq!(&page[..length], b"GET /%22%3C HTTP/1.1\r\n\r\n");
            server
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .await
                .expect("room");
        }
    }
}

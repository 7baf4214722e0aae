use super::*;

#[test]
fn a_page_carries_base_and_nonce_escaped() {
    let page = index("/a\"><b>/", "__BASE__");
    assert!(
        page.contains("<base href=\"/a&quot;&gt;&lt;b&gt;/\" />"),
        "{page}"
    );
    assert!(page.contains("nonce=\"__BASE__\""), "{page}");
    assert!(!page.contains(NONCE_MARK), "{page}");
}

#[test]
fn the_api_only_page_is_served_where_nothing_was_built() {
    let page = index("/", "n");
    assert_eq!(page.contains("This build has no pages"), !is_built());
}

#[test]
fn assets_come_packed_as_the_client_allows() {
    if !is_built() {
        eprintln!("not checked: this build has no UI");
        return;
    }
    let page = index("/", "n");
    let start = page.find("assets/").expect("the page names its script");
    let end = start + page[start..].find('"').expect("the name ends");
    let path = &page[start..end];

    let best = asset(path, "gzip, deflate, br").expect("the script is there");
    assert_eq!((best.encoding, best.immutable), (Some("br"), true));
    let gzip = asset(path, "gzip, br;q=0").expect("the script is there");
    assert_eq!(gzip.encoding, Some("gzip"));
    assert_eq!(gzip.bytes[..2], [0x1f, 0x8b]);
    let plain = asset(path, "").expect("the script is there");
    assert_eq!(plain.encoding, None);
    assert!(plain.bytes.len() > 2 * gzip.bytes.len());
    assert_ne!(plain.etag, gzip.etag);
    assert!(plain.etag.starts_with('"') && plain.etag.ends_with('"'));

    let licences = asset("assets/licences.md", "").expect("the licences are shipped");
    assert!(!licences.immutable);
    assert!(String::from_utf8_lossy(&licences.bytes).contains("preact"));

    let icon = asset("favicon.svg", "br").expect("the icon is there");
    assert_eq!(
        (icon.content_type, icon.immutable),
        ("image/svg+xml", false)
    );
}

#[test]
fn only_files_of_the_ui_are_served() {
    for path in [
        "",
        "index.html",
        "assets",
        "../Cargo.toml",
        ".source-hash",
        "favicon.svg.gz",
        "manifest.json",
    ] {
        assert!(asset(path, "br, gzip").is_none(), "{path}");
    }
}

#[test]
fn accept_encoding_is_read_with_weights() {
    for (header, coding, allowed) in [
        ("gzip, br", "br", true),
        ("GZIP;q=0.5", "gzip", true),
        ("gzip;q=0", "gzip", false),
        ("*", "br", true),
        ("*;q=0", "br", false),
        ("br;q=0, *", "br", false),
        ("", "gzip", false),
        ("xgzip", "gzip", false),
    ] {
        assert_eq!(accepts(header, coding), allowed, "{header} {coding}");
    }
}

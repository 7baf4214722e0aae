use std::path::Path;

use super::*;

#[test]
fn probe() {
    for text in [
        "groups:\n- name: a\n  rules:\n  - alert: X\n    exprr: up\n",
        "groups:\n- name: a\n  interval: 5\n  limit: x\n",
        "groups:\n- name: [a]\n",
        "groups:\n- name: a\n  name: b\n",
        "groups: [\n",
        "groups:\n- name: a\n  rules:\n  - alert: X\n    expr: up ==\n    labels: {a: 1, b: true, c: null, d: 1.50, __name__: x}\n",
        "",
        "a: &x 1\ngroups: []\n",
        "groups:\n- name: a\n---\nfoo: 1\n",
    ] {
        println!(
            "{text:?}\n   {:?}",
            RuleFile::parse_all(Path::new("f.yml"), text)
        );
    }
}

use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    resolve::config(Path::new("prometheus.yml"), text, &Collectors::none())
}

#[test]
fn smoke() {
    let config = load("global: {scrape_interval: 5s}\nscrape_configs:\n- job_name: a\n  static_configs: [{targets: ['x:1']}]\n  metric_relabel_configs: [{action: labeldrop, regex: z}]\n").expect("valid");
    println!("{}", config.shown);
    for bad in [
        "global: {scrape_interval: 5x}\n",
        "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n",
        "scrape_configs:\n- job_name: a\n- job_name: a\n",
        "scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - regex: '('\n",
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: hashmod\n",
        "scrape_configs:\n- job_name: a\n  job_name: b\n",
        "a: [",
        "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['http://x:1/y']\n",
        "scrape_configs:\n-\n",
    ] {
        println!("{}\n", load(bad).err().expect(bad));
    }
}

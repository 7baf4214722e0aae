//! Paths with `*`, `?` and `[…]`, in any part.

use std::path::{Component, Path, PathBuf};

/// Most paths one pattern may yield.
const MATCHES_LIMIT: usize = 10_000;

/// The files that fit `pattern`, sorted. A pattern without wildcards yields itself where it exists.
pub(crate) fn files(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        let wild = matches!(part, Component::Normal(_)) && text.contains(['*', '?', '[']);
        found = found
            .into_iter()
            .flat_map(|base| {
                if wild {
                    entries(&base, &text)
                } else {
                    vec![base.join(part)]
                }
            })
            .take(MATCHES_LIMIT)
            .collect();
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

fn entries(base: &Path, pattern: &str) -> Vec<PathBuf> {
    let directory = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    };
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let pattern: Vec<char> = pattern.chars().collect();
    entries
        .flatten()
        .filter(|entry| {
            let name: Vec<char> = entry.file_name().to_string_lossy().chars().collect();
            fits(&pattern, &name)
        })
        .map(|entry| base.join(entry.file_name()))
        .collect()
}

/// Whether `name` fits `pattern`. Steps back only to the latest `*`, so time is bounded by the
/// product of the lengths.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star = None;
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some('[') if class(&pattern[at..], name[read]).is_some_and(|(fits, _)| fits) => {
                at += class(&pattern[at..], name[read]).map_or(1, |(_, length)| length);
                read += 1;
            }
            Some('?') => {
                at += 1;
                read += 1;
            }
            Some(&ch) if ch != '[' && ch == name[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, star_read)) => {
                    star = Some((star_at, star_read + 1));
                    at = star_at + 1;
                    read = star_read + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|ch| *ch == '*')
}

/// Whether `ch` is in the class at the start of `pattern`, and how long the class is; `None` where
/// it has no end.
fn class(pattern: &[char], ch: char) -> Option<(bool, usize)> {
    let end = pattern.iter().skip(2).position(|ch| *ch == ']')? + 2;
    let mut body = &pattern[1..end];
    let negated = matches!(body.first(), Some('^' | '!'));
    if negated {
        body = &body[1..];
    }
    let mut inside = false;
    while let Some(first) = body.first() {
        if let [low, '-', high, ..] = body {
            inside |= (*low..=*high).contains(&ch);
            body = &body[3..];
        } else {
            inside |= *first == ch;
            body = &body[1..];
        }
    }
    Some((inside != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, want) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?.y[a-m]ml", "x.yaml", true),
            ("[!a]", "a", false),
            ("[^a]", "b", true),
            ("[", "[", false),
            ("*", "", true),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(
                fits(&chars(pattern), &chars(name)),
                want,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn files_are_found_in_any_part() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["x1/a.yml", "x2/b.yml", "x2/c.txt", "y/d.yml"] {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let found = files(&directory.path().join("x*/*.yml"));
        let names: Vec<_> = found
            .iter()
            .map(|path| {
                path.strip_prefix(directory.path())
                    .expect("below")
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(names, ["x1/a.yml", "x2/b.yml"]);
        assert!(files(&directory.path().join("absent.yml")).is_empty());
        assert_eq!(files(&directory.path().join("y/d.yml")).len(), 1);
    }
}

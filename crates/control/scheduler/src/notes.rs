//! The events that tell of decisions, in upstream's words.

use reconcile::Note;
use types::core::v1::Pod;

/// Longest text of an event.
const TEXT_MAX: usize = 1024;

/// The text cut to what an event takes.
fn cut(message: &str) -> String {
    if message.len() <= TEXT_MAX {
        return message.to_owned();
    }
    let mut end = TEXT_MAX - " ...".len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} ...", &message[..end])
}

/// The pod found no node, or something went wrong.
pub fn failed(pod: &Pod, message: &str) -> Note {
    Note::warning(pod, "FailedScheduling", cut(message)).doing("Scheduling")
}

/// The pod is bound.
pub fn scheduled(pod: &Pod, node: &str) -> Note {
    let text = format!("Successfully assigned {}/{} to {node}", pod.metadata.namespace, pod.metadata.name);
    Note::normal(pod, "Scheduled", text).doing("Binding")
}

/// The pod had to go for a more important one.
pub fn preempted(victim: &Pod, preemptor: &Pod, node: &str) -> Note {
    let text = format!("Preempted by pod {} on node {node}", preemptor.metadata.uid);
    Note::normal(victim, "Preempted", text).doing("Preempting")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"\u{e4}".repeat(2000));
        assert!(long.len() <= TEXT_MAX && long.ends_with("\u{e4} ..."), "{}", long.len());
    }
}

//! Texts that name indexes of a job: `1,3-5`.

/// One interval, both ends included. Indexes are below `completions`.
fn interval(text: &str, completions: i32) -> Result<(i32, i32), String> {
    let number = |s: &str| -> Result<i32, String> {
        let n = s.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {s:?}"))?;
        match i32::try_from(n) {
            Ok(n) if n < completions => Ok(n),
            _ => Err(format!("too large index: {s:?}")),
        }
    };
    let Some((low, high)) = text.split_once('-') else { return number(text).map(|n| (n, n)) };
    if high.contains('-') {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let (low, high) = (number(low)?, number(high)?);
    match low < high {
        true => Ok((low, high)),
        false => Err(format!("non-increasing order, previous: {low}, current: {high}")),
    }
}

/// How many indexes a text names, or why it cannot be read.
pub(super) fn count(text: &str, completions: i32) -> Result<i32, String> {
    let mut last = None;
    let mut count = 0;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (low, high) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= low) {
            return Err(format!("non-increasing order, previous: {last}, current: {low}"));
        }
        count += high - low + 1;
        last = Some(high);
    }
    Ok(count)
}

/// The first index at which two texts overlap. Intervals that cannot be read are passed over: they are told of elsewhere.
pub(super) fn overlap(one: &str, other: &str, completions: i32) -> Option<i32> {
    let read = |text: &'_ str| -> Vec<(i32, i32)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        match a.0 <= b.0 {
            true => i += 1,
            false => j += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (text, expected) in [
            ("", Ok(0)),
            ("1,3-5", Ok(4)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            ("3-3", Err("non-increasing order, previous: 3, current: 3")),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
            ("1,", Err("cannot convert string to integer for index: \"\"")),
            ("-1", Err("cannot convert string to integer for index: \"\"")),
            ("10", Err("too large index: \"10\"")),
            ("99999999999", Err("too large index: \"99999999999\"")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ] {
            assert_eq!(count(text, 10), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn overlaps() {
        for (one, other, expected) in
            [("", "1", None), ("1,3-5", "2,6", None), ("1,3-5", "2,4", Some(4)), ("x,7", "7", Some(7))]
        {
            assert_eq!(overlap(one, other, 10), expected, "{one} {other}");
        }
    }
}

//! The flags that a command was started with, for `/flagz`.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

/// The flags of a command with their values, defaults included, as Go's flag library shows them: several values in
/// brackets, and what is not given as nothing.
pub fn of(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let named = command.get_arguments().filter_map(|flag| Some((flag, flag.get_long()?)));
    named.map(|(flag, name)| (name.to_owned(), value(flag, matches))).collect()
}

fn value(flag: &Arg, matches: &ArgMatches) -> String {
    let id = flag.get_id().as_str();
    let given = matches.try_get_raw(id).ok().flatten();
    let values: Vec<String> =
        given.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
    let takes_several =
        matches!(flag.get_action(), ArgAction::Append) || flag.get_value_delimiter().is_some();
    if takes_several { format!("[{}]", values.join(",")) } else { values.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_defaults() {
        let command = Command::new("x")
            .arg(Arg::new("port").long("port").default_value("1"))
            .arg(Arg::new("config").long("config"))
            .arg(Arg::new("suites").long("suites").value_delimiter(',').action(ArgAction::Append))
            .arg(Arg::new("loud").long("loud").action(ArgAction::SetTrue))
            .arg(Arg::new("word"));
        let matches = command.clone().get_matches_from(["x", "--suites", "a,b", "word"]);
        let all = of(&command, &matches);
        let wanted = [("config", ""), ("loud", "false"), ("port", "1"), ("suites", "[a,b]")];
        let wanted: BTreeMap<String, String> = wanted.map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(all, wanted);
    }
}

//! A table per library: what upstream documents of each function.

use crate::eval::tests::table;

#[test]
fn conversions() {
    table(&[
        ("int('12') + int(1.9) + int(3u)", "16"),
        ("int('x')", "error: type conversion error from 'string' to 'int'"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("string(1.5) + string(1) + string(true) + string(2u)", "\"1.51true2\""),
        ("string(1e21)", "\"1e+21\""),
        ("double('1.5')", "1.5"),
        ("bool('true')", "true"),
        ("string(bytes('é'))", "\"é\""),
        ("duration('x')", "compile: invalid duration argument"),
        ("duration(object.name)", "error: type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("string(duration('1h2m3s'))", "\"3723s\""),
        ("timestamp('2023-01-01T00:00:00Z') + duration('24h') == timestamp('2023-01-02T00:00:00Z')", "true"),
        ("string(timestamp(0))", "\"1970-01-01T00:00:00Z\""),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"),
    ]);
}

#[test]
fn times() {
    table(&[
        ("timestamp('2023-12-25T10:20:30.5Z').getFullYear()", "2023"),
        ("timestamp('2023-12-25T10:20:30.5Z').getMonth()", "11"),
        ("timestamp('2023-12-25T10:20:30.5Z').getDate()", "25"),
        ("timestamp('2023-12-25T10:20:30.5Z').getDayOfMonth()", "24"),
        ("timestamp('2023-12-25T10:20:30.5Z').getDayOfWeek()", "1"),
        ("timestamp('2023-12-25T10:20:30.5Z').getDayOfYear()", "358"),
        ("timestamp('2023-12-25T10:20:30.5Z').getHours('-08:00')", "2"),
        ("timestamp('2023-12-25T10:20:30.5Z').getMilliseconds()", "500"),
        ("duration('90m').getHours()", "1"),
        ("duration('90m').getMinutes()", "90"),
        ("timestamp('2023-12-25T10:20:30Z').getHours('Nowhere/At')", "error: unknown time zone Nowhere/At"),
    ]);
}

#[test]
fn strings() {
    table(&[
        ("'tacocat'.charAt(3)", "\"o\""),
        ("'tacocat'.charAt(99)", "error: index out of range: 99"),
        ("'hello mellow'.indexOf('ello', 2)", "7"),
        ("'hello mellow'.lastIndexOf('ello')", "7"),
        ("'hello mellow'.lastIndexOf('ello', 6)", "1"),
        ("'hello mellow'.indexOf('jello')", "-1"),
        ("'😁b'.indexOf('b')", "1"),
        ("['x', 'y'].join('-')", "\"x-y\""),
        ("'TaCoCÆt'.lowerAscii()", "\"tacocÆt\""),
        ("'hello hello'.replace('he', 'we', 1)", "\"wello hello\""),
        ("'a b c'.split(' ', 2)", "[\"a\",\"b c\"]"),
        ("'abc'.split('')", "[\"a\",\"b\",\"c\"]"),
        ("'tacocat'.substring(0, 4)", "\"taco\""),
        ("'tacocat'.substring(4, 2)", "error: invalid substring range. start: 4, end: 2"),
        ("'  trim\\n '.trim()", "\"trim\""),
        ("strings.quote('a\"b')", "\"\\\"a\\\\\\\"b\\\"\""),
        (
            "'%s is %d (%.2f) %x %b %o'.format(['x', dyn(5), dyn(1.5), dyn(255), dyn(5), dyn(8)])",
            "\"x is 5 (1.50) ff 101 10\"",
        ),
        ("'%s'.format([[1, 2]])", "\"[1, 2]\""),
        (
            "'%d'.format([dyn('a')])",
            "error: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%e'.format([1234.5])", "\"1.234500e+03\""),
        ("'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')", "true"),
    ]);
}

#[test]
fn lists_and_sets() {
    table(&[
        ("[1, 2, 3].isSorted() && !['b', 'a'].isSorted()", "true"),
        ("[1, 3].sum()", "4"),
        ("[1.5, 2.0].sum()", "3.5"),
        ("[1.5].filter(x, x > 2.0).sum() + 1.0", "1.0"),
        ("'abc'.indexOf('', 10)", "10"),
        ("'abc'.lastIndexOf('', -1)", "-1"),
        ("['a', 'c', 'b'].max()", "\"c\""),
        ("[3, 1].min()", "1"),
        ("[].max()", "error: max called on empty list"),
        ("[1, 2, 2].indexOf(2)", "1"),
        ("[1, 2, 2].lastIndexOf(2)", "2"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2,3]"),
        ("[[1], [2, 3]].flatten()", "[1,2,3]"),
        ("[3, 2, 1].sort()", "[1,2,3]"),
        ("[1, 2].reverse()", "[2,1]"),
        ("[1, 2, 1].distinct()", "[1,2]"),
        ("lists.range(3)", "[0,1,2]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("sets.contains([1, 2], [2])", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
        ("sets.intersects([1], [2])", "false"),
    ]);
}

#[test]
fn patterns() {
    table(&[
        ("'abc 123'.find('[0-9]+')", "\"123\""),
        ("'1 2 3'.findAll('[0-9]', 2)", "[\"1\",\"2\"]"),
        ("'abc'.matches('^a.c$')", "true"),
        ("'abc'.matches('(')", "compile: invalid matches argument"),
        ("'abc'.find('ab[c')", "compile: error parsing regexp: missing closing ]: `[c`"),
        ("'abc'.findAll('(a')", "compile: error parsing regexp: missing closing ): `(a`"),
        (
            "'abc'.find('a|*?')",
            "compile: error parsing regexp: missing argument to repetition operator: `*?`",
        ),
        ("'abc'.find('a' + '[')", "error: error parsing regexp: missing closing ]: `[`"),
        ("'abc'.find('é[a')", "compile: error parsing regexp: missing closing ]: `[a`"),
        ("object.name.matches('w' + '(')", "error: error parsing regexp: missing closing ): `w(`"),
    ]);
}

#[test]
fn networks_and_urls() {
    table(&[
        ("isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.256') && !isIP('::ffff:1.2.3.4')", "true"),
        ("ip('fe80::1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()", "true"),
        ("ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()", "true"),
        ("ip('::1').family()", "6"),
        ("ip.isCanonical('2001:DB8::ABCD')", "false"),
        ("cidr('192.168.0.0/24').containsIP('192.168.0.5')", "true"),
        ("cidr('192.168.0.0/24').containsCIDR('192.168.0.0/25')", "true"),
        ("string(cidr('192.168.1.5/24').masked())", "\"192.168.1.0/24\""),
        ("cidr('10.0.0.0/8').prefixLength()", "8"),
        ("string(cidr('10.1.0.0/8').ip())", "\"10.1.0.0\""),
        ("isCIDR('10.0.0.0/33')", "false"),
        ("url('https://user:pass@example.com:80/path?a=1&a=2#f').getHost()", "\"example.com:80\""),
        ("url('https://[::1]:80/').getHostname()", "\"::1\""),
        ("url('https://example.com/with space/').getEscapedPath()", "\"/with%20space/\""),
        ("url('https://example.com/?a=b%20c&a=2').getQuery()", "{\"a\":[\"b c\",\"2\"]}"),
        ("isURL('/absolute/path') && !isURL('relative') && !isURL('')", "true"),
    ]);
}

#[test]
fn quantities_versions_and_formats() {
    table(&[
        ("quantity('500m').add(quantity('1')).asApproximateFloat()", "1.5"),
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('5').sub(3).asInteger()", "2"),
        ("quantity('1.5').isInteger()", "false"),
        ("quantity('200M').compareTo(quantity('0.2G'))", "0"),
        ("quantity('-1').sign()", "-1"),
        ("isQuantity('2.5Qi')", "false"),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", "true"),
        ("semver('1.0.0-alpha').compareTo(semver('1.0.0'))", "-1"),
        ("isSemver('v1.0') || !isSemver('v1.0', true)", "false"),
        ("semver('01.01.01', true) == semver('1.1.1')", "true"),
        ("semver('x')", "error: No Major.Minor.Patch elements found"),
        ("format.dns1123Label().validate('ok-1').hasValue()", "false"),
        ("format.named('dns1123Label').value().validate('Not OK').value().size() > 0", "true"),
        ("format.named('nope').hasValue()", "false"),
        ("format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", "false"),
        ("format.date().validate('2021-13-01').value()", "[\"invalid date\"]"),
    ]);
}

#[test]
fn optionals() {
    table(&[
        ("optional.of(1).or(optional.of(2)).value()", "1"),
        ("optional.none().orValue(3)", "3"),
        ("optional.of(1).orValue(1 / 0)", "1"),
        ("optional.ofNonZeroValue('')", "optional.none()"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("[?optional.of(1), ?optional.none()]", "[1]"),
        ("{?'a': optional.of(1), ?'b': optional.none()}", "{\"a\":1}"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("optional.of(1) == optional.of(1)", "true"),
    ]);
}

# SPDX-License-Identifier: GPL-2.0-or-later
#
# causes.toml as a C table: CAUSE(number, slug, title, explanation). One key a
# line, strings in double quotes: TOML's quoting is C's for what stands there.

function flush() {
	if (number == "")
		return
	if (slug == "" || title == "" || explanation == "") {
		print FILENAME ": cause " number " lacks a key" > "/dev/stderr"
		failed = 1
	}
	printf "CAUSE(%d, %s, %s, %s)\n", number, slug, title, explanation
	number = slug = title = explanation = ""
}

function value() {
	sub(/^[^=]*= */, "")
	return $0
}

/^\[\[cause\]\]/ { flush() }
/^number = /      { number = value() }
/^slug = /        { slug = value() }
/^title = /       { title = value() }
/^explanation = / { explanation = value() }
END { flush(); exit failed }

# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes names.inc from <linux/gigalock.h>: the names of reasons, stages and
# strategies have their home there, in the comment after each number.
#
# GIGALOCK_REASON_X  n  /* name: observation */  ->  REASON(GIGALOCK_REASON_X, "name", "observation")
# GIGALOCK_STRATEGY_A_B n                        ->  STRATEGY(GIGALOCK_STRATEGY_A_B, "a-b")

function fail(why)
{
	printf "%s:%d: %s: %s\n", FILENAME, FNR, why, $0 > "/dev/stderr"
	bad = 1
	exit 1
}

/^#define[ \t]+GIGALOCK_(REASON|STAGE|STRATEGY)_COUNT[ \t]/ {
	split($2, part, "_")
	count[part[2]] = $3 + 0
	next
}

/^#define[ \t]+GIGALOCK_STRATEGY_/ {
	name = tolower(substr($2, length("GIGALOCK_STRATEGY_") + 1))
	gsub(/_/, "-", name)
	printf "STRATEGY(%s, \"%s\")\n", $2, name
	seen["STRATEGY"]++
	next
}

/^#define[ \t]+GIGALOCK_(REASON|STAGE)_/ {
	split($2, part, "_")
	if (!match($0, /\/\*.*\*\//))
		fail("no comment that names it")
	text = substr($0, RSTART + 2, RLENGTH - 4)
	gsub(/^[ \t]+|[ \t]+$/, "", text)
	gsub(/["\\]/, "\\\\&", text)
	name = text
	observation = ""
	if ((at = index(text, ":")) > 0) {
		name = substr(text, 1, at - 1)
		observation = substr(text, at + 1)
		sub(/^[ \t]+/, "", observation)
	}
	if (name !~ /^[a-z][a-z-]*$/)
		fail("not a name: " name)
	printf "%s(%s, \"%s\", \"%s\")\n", part[2], $2, name, observation
	seen[part[2]]++
	next
}

END {
	if (bad)
		exit 1
	for (kind in count)
		if (seen[kind] != count[kind]) {
			printf "%s: %d of %s, but its COUNT is %d\n", FILENAME,
			       seen[kind], kind, count[kind] > "/dev/stderr"
			exit 1
		}
}

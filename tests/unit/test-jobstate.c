// SPDX-License-Identifier: GPL-2.0-only
/*
 * States and verbs of a job against what QEMU's do, written down a second
 * time, in words: each state with those that may follow it, each verb with the
 * states it is taken in.
 */

#include "tap.h"

#include "jobstate.h"

#include <string.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* QEMU's "undefined" is a job that is not there yet: here it has no value. */
static const struct {
	const char *state;
	const char *next;
} transitions[] = {
	{ "created",	"running aborting null" },
	{ "running",	"paused ready waiting aborting" },
	{ "paused",	"running" },
	{ "ready",	"standby waiting aborting" },
	{ "standby",	"ready" },
	{ "waiting",	"pending aborting" },
	{ "pending",	"aborting concluded" },
	{ "aborting",	"aborting concluded" },
	{ "concluded",	"null" },
	{ "null",	"" },
};

/* A job that aborts is past cancelling: QEMU refuses it there, too. */
static const struct {
	const char *verb;
	const char *states;
} verbs[] = {
	{ "cancel",	"created running paused ready standby waiting pending" },
	{ "pause",	"created running paused ready standby" },
	{ "resume",	"created running paused ready standby" },
	{ "set_speed",	"created running paused ready standby" },
	{ "change",	"created running paused ready standby" },
	{ "checkpoint",	"running paused" },
	{ "complete",	"ready standby" },
	{ "finalize",	"pending" },
	{ "dismiss",	"concluded" },
};

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);
	const char *p;

	for (p = words; (p = strstr(p, word)); p++)
		if ((p == words || p[-1] == ' ') && (!p[len] || p[len] == ' '))
			return true;
	return false;
}

/* BK_JOB_STATES and BK_VERBS if there is none. */
static int state_of(const char *name)
{
	int i;

	for (i = 0; i < BK_JOB_STATES; i++)
		if (!strcmp(bk_job_state_name(i), name))
			break;
	return i;
}

static int verb_of(const char *name)
{
	int i;

	for (i = 0; i < BK_VERBS; i++)
		if (!strcmp(bk_job_verb_name(i), name))
			break;
	return i;
}

/* As many words as values, and each word found: no word is there twice. */
static void test_names(void)
{
	unsigned int i;

	CHECK(BK_JOB_STATES == COUNT(transitions), "%d states", BK_JOB_STATES);
	CHECK(BK_VERBS == COUNT(verbs), "%d verbs", BK_VERBS);
	for (i = 0; i < BK_JOB_STATES; i++)
		CHECK(bk_job_state_name(i), "state %u has no name", i);
	for (i = 0; i < BK_VERBS; i++)
		CHECK(bk_job_verb_name(i), "verb %u has no name", i);
	for (i = 0; i < COUNT(transitions); i++)
		CHECK(state_of(transitions[i].state) < BK_JOB_STATES,
		      "there is no state '%s'", transitions[i].state);
	for (i = 0; i < COUNT(verbs); i++)
		CHECK(verb_of(verbs[i].verb) < BK_VERBS,
		      "there is no verb '%s'", verbs[i].verb);
	CHECK(state_of("undefined") == BK_JOB_STATES, "'undefined' is a state");
}

/* The values others write in code are those of their words. */
static void test_values(void)
{
	static const struct {
		int value;
		const char *name;
	} states[] = {
		{ BK_JOB_CREATED, "created" }, { BK_JOB_RUNNING, "running" },
		{ BK_JOB_PAUSED, "paused" }, { BK_JOB_READY, "ready" },
		{ BK_JOB_STANDBY, "standby" }, { BK_JOB_WAITING, "waiting" },
		{ BK_JOB_PENDING, "pending" }, { BK_JOB_ABORTING, "aborting" },
		{ BK_JOB_CONCLUDED, "concluded" }, { BK_JOB_NULL, "null" },
	}, names[] = {
		{ BK_VERB_CANCEL, "cancel" }, { BK_VERB_PAUSE, "pause" },
		{ BK_VERB_RESUME, "resume" }, { BK_VERB_CHANGE, "change" },
		{ BK_VERB_SET_SPEED, "set_speed" },
		{ BK_VERB_CHECKPOINT, "checkpoint" },
		{ BK_VERB_COMPLETE, "complete" },
		{ BK_VERB_FINALIZE, "finalize" },
		{ BK_VERB_DISMISS, "dismiss" },
	};
	unsigned int i;

	for (i = 0; i < COUNT(states); i++)
		CHECK(state_of(states[i].name) == states[i].value,
		      "'%s' is not its state's name", states[i].name);
	for (i = 0; i < COUNT(names); i++)
		CHECK(verb_of(names[i].name) == names[i].value,
		      "'%s' is not its verb's name", names[i].name);
}

static void test_transitions(void)
{
	unsigned int i, pairs = 0;
	int from, to;

	for (i = 0; i < COUNT(transitions); i++) {
		from = state_of(transitions[i].state);
		if (!CHECK(from < BK_JOB_STATES, "no '%s'",
			   transitions[i].state))
			continue;
		for (to = 0; to < BK_JOB_STATES; to++, pairs++) {
			bool want = has_word(transitions[i].next,
					     bk_job_state_name(to));

			CHECK(bk_job_may_become(from, to) == want,
			      "%s %s become %s", transitions[i].state,
			      want ? "may not" : "may", bk_job_state_name(to));
		}
	}
	CHECK(pairs == 10 * 10, "%u pairs", pairs);
}

static void test_verbs(void)
{
	unsigned int i, pairs = 0;
	int state, verb;

	for (i = 0; i < COUNT(verbs); i++) {
		verb = verb_of(verbs[i].verb);
		if (!CHECK(verb < BK_VERBS, "no '%s'", verbs[i].verb))
			continue;
		for (state = 0; state < BK_JOB_STATES; state++, pairs++) {
			bool want = has_word(verbs[i].states,
					     bk_job_state_name(state));

			CHECK(bk_job_may(state, verb) == want,
			      "%s is %s in %s", verbs[i].verb,
			      want ? "refused" : "taken",
			      bk_job_state_name(state));
		}
	}
	CHECK(pairs == 10 * 9, "%u pairs", pairs);
}

/* Nothing is ever left without a way out, and nothing comes back from null. */
static void test_ends(void)
{
	int state, next, rounds;
	bool ends[BK_JOB_STATES] = { [BK_JOB_NULL] = true };

	for (rounds = 0; rounds < BK_JOB_STATES; rounds++)
		for (state = 0; state < BK_JOB_STATES; state++)
			for (next = 0; next < BK_JOB_STATES; next++)
				ends[state] |= ends[next] &&
					bk_job_may_become(state, next);
	for (state = 0; state < BK_JOB_STATES; state++) {
		CHECK(ends[state], "%s never ends", bk_job_state_name(state));
		CHECK(!bk_job_may_become(BK_JOB_NULL, state),
		      "null may become %s", bk_job_state_name(state));
	}
}

const struct unit_test unit_jobstate[] = {
	{ "every state and verb of QEMU has its name", test_names },
	{ "every value has its own name", test_values },
	{ "transitions, all pairs of states", test_transitions },
	{ "verbs, all of them in all states", test_verbs },
	{ "every state leads to null, and null to none", test_ends },
	{ NULL, NULL }
};

/*
 * deadline.c - the pairing heap.
 */
#include "sched/deadline.h"

#include <stddef.h>

#include "base/check.h"
#include "os/clock.h"

void deadlines_init(struct deadlines *deadlines)
{
	spinlock_init_ranked(&deadlines->lock, RANK_DEADLINES);
	deadlines->root = NULL;
	atomic_init(&deadlines->earliest, DEADLINE_NEVER);
	atomic_init(&deadlines->fired, 0);
}

/* Both are roots or NULL; the later one becomes the first child of the earlier. */
static struct deadline *meld(struct deadline *left, struct deadline *right)
{
	struct deadline *top, *below;

	if (left == NULL || right == NULL)
		return left != NULL ? left : right;
	top = right->at_ns < left->at_ns ? right : left;
	below = top == left ? right : left;
	below->before = top;
	below->sibling = top->child;
	if (top->child != NULL)
		top->child->before = below;
	top->child = below;
	top->sibling = top->before = NULL;
	return top;
}

/* One heap of a list of siblings: pairs from the front, then all from the back. */
static struct deadline *meld_siblings(struct deadline *first)
{
	struct deadline *pairs = NULL, *heap = NULL;

	while (first != NULL) {
		struct deadline *left = first, *right = first->sibling;

		first = right != NULL ? right->sibling : NULL;
		left->sibling = left->before = NULL;
		if (right != NULL)
			right->sibling = right->before = NULL;
		left = meld(left, right);
		left->sibling = pairs;
		pairs = left;
	}
	while (pairs != NULL) {
		struct deadline *rest = pairs->sibling;

		pairs->sibling = NULL;
		heap = meld(heap, pairs);
		pairs = rest;
	}
	return heap;
}

static void set_root_locked(struct deadlines *deadlines, struct deadline *root)
{
	deadlines->root = root;
	if (root != NULL)
		root->sibling = root->before = NULL;
	/* seq_cst: README.md, "Deadlines". */
	store_seq_cst(&deadlines->earliest, root != NULL ? root->at_ns : DEADLINE_NEVER);
}

/* Takes an entry that is not the root out of its siblings. */
static void cut(struct deadline *deadline)
{
	if (deadline->before->child == deadline)
		deadline->before->child = deadline->sibling;
	else
		deadline->before->sibling = deadline->sibling;
	if (deadline->sibling != NULL)
		deadline->sibling->before = deadline->before;
	deadline->sibling = deadline->before = NULL;
}

static void remove_locked(struct deadlines *deadlines, struct deadline *deadline)
{
	struct deadline *rest = meld_siblings(deadline->child);

	deadline->child = NULL;
	deadline->armed = false;
	if (deadline == deadlines->root) {
		set_root_locked(deadlines, rest);
		return;
	}
	cut(deadline);
	set_root_locked(deadlines, meld(deadlines->root, rest));
}

bool deadlines_add(struct deadlines *deadlines, struct deadline *deadline)
{
	bool earliest;

	spinlock_lock(&deadlines->lock);
	FILAR_ASSERT(!deadline->armed);
	deadline->child = deadline->sibling = deadline->before = NULL;
	deadline->armed = true;
	set_root_locked(deadlines, meld(deadlines->root, deadline));
	earliest = deadlines->root == deadline;
	spinlock_unlock(&deadlines->lock);
	return earliest;
}

void deadlines_cancel(struct deadlines *deadlines, struct deadline *deadline)
{
	spinlock_lock(&deadlines->lock);
	if (deadline->armed)
		remove_locked(deadlines, deadline);
	spinlock_unlock(&deadlines->lock);
}

uint64_t deadlines_fire(struct deadlines *deadlines, int64_t now_ns)
{
	uint64_t count = 0;

	spinlock_lock(&deadlines->lock);
	while (deadlines->root != NULL && deadlines->root->at_ns <= now_ns) {
		struct deadline *due = deadlines->root;

		remove_locked(deadlines, due);
		due->fire(due);
		count++;
	}
	store_relaxed(&deadlines->fired, load_relaxed(&deadlines->fired) + count);
	spinlock_unlock(&deadlines->lock);
	return count;
}

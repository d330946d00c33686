/*
 * test_locks.c - spin, ticket and MCS lock: one holder, and for two of them the order.
 */
#include <pthread.h>

#include "check.h"
#include "sync/mcslock.h"
#include "sync/spinlock.h"
#include "sync/ticketlock.h"

#define QUEUE 6

TEST(a_free_spinlock_is_taken_and_a_held_one_is_not)
{
	struct spinlock lock;

	spinlock_init(&lock);
	CHECK(spinlock_trylock(&lock));
	CHECK(!spinlock_trylock(&lock));
	spinlock_unlock(&lock);
	spinlock_lock(&lock);
	CHECK(!spinlock_trylock(&lock));
	spinlock_unlock(&lock);
	CHECK(spinlock_trylock(&lock));
}

TEST(a_free_ticketlock_is_taken_and_a_held_one_is_not)
{
	struct ticketlock lock;

	ticketlock_init(&lock);
	CHECK(ticketlock_trylock(&lock));
	CHECK(!ticketlock_trylock(&lock));
	ticketlock_unlock(&lock);
	ticketlock_lock(&lock);
	CHECK(!ticketlock_trylock(&lock));
	ticketlock_unlock(&lock);
	CHECK(ticketlock_trylock(&lock));
}

TEST(a_free_mcslock_is_taken_and_a_held_one_is_not)
{
	struct mcslock lock;
	struct mcsnode first, second;

	mcslock_init(&lock);
	CHECK(mcslock_trylock(&lock, &first));
	CHECK(!mcslock_trylock(&lock, &second));
	mcslock_unlock(&lock, &first);
	CHECK(load_relaxed(&lock.tail) == NULL);
	mcslock_lock(&lock, &second);
	CHECK(!mcslock_trylock(&lock, &first));
	mcslock_unlock(&lock, &second);
	CHECK(mcslock_trylock(&lock, &first));
}

TEST(a_ticketlock_works_across_the_end_of_its_numbers)
{
	struct ticketlock lock;

	ticketlock_init(&lock);
	atomic_init(&lock.next, UINT32_MAX - 1);
	atomic_init(&lock.serving, UINT32_MAX - 1);
	for (int i = 0; i < 2; i++) {
		ticketlock_lock(&lock);
		CHECK(!ticketlock_trylock(&lock));
		ticketlock_unlock(&lock);
		CHECK(ticketlock_trylock(&lock));
		ticketlock_unlock(&lock);
	}
	CHECK_EQ(load_relaxed(&lock.serving), 2);
}

/* ---- order ---- */

struct queue {
	struct spinlock spin;
	struct ticketlock ticket;
	struct mcslock mcs;
	int order[QUEUE]; /* who came when; plain, under the lock */
	int served;
};

struct customer {
	struct queue *queue;
	int number;
	pthread_t pthread;
};

static void be_served(struct customer *customer)
{
	customer->queue->order[customer->queue->served++] = customer->number;
}

static void *queue_at_ticket(void *pointer)
{
	struct customer *customer = pointer;

	ticketlock_lock(&customer->queue->ticket);
	be_served(customer);
	ticketlock_unlock(&customer->queue->ticket);
	return NULL;
}

static void *queue_at_mcs(void *pointer)
{
	struct customer *customer = pointer;
	struct mcsnode node;

	mcslock_lock(&customer->queue->mcs, &node);
	be_served(customer);
	mcslock_unlock(&customer->queue->mcs, &node);
	return NULL;
}

static void join_all(struct customer *customers)
{
	for (int i = 0; i < QUEUE; i++)
		pthread_join(customers[i].pthread, NULL);
	CHECK_EQ(customers[0].queue->served, QUEUE);
	for (int i = 0; i < QUEUE; i++)
		CHECK_EQ(customers[0].queue->order[i], i);
}

TEST(a_ticketlock_serves_in_order_of_arrival)
{
	struct queue queue = { .served = 0 };
	struct customer customers[QUEUE];

	ticketlock_init(&queue.ticket);
	ticketlock_lock(&queue.ticket);
	for (int i = 0; i < QUEUE; i++) {
		customers[i] = (struct customer){ .queue = &queue, .number = i };
		CHECK_EQ(
			pthread_create(&customers[i].pthread, NULL, queue_at_ticket, &customers[i]),
			0);
		WAIT_UNTIL(load_relaxed(&queue.ticket.next) == (uint32_t)i + 2);
	}
	CHECK_EQ(queue.served, 0);
	ticketlock_unlock(&queue.ticket);
	join_all(customers);
}

TEST(an_mcslock_serves_in_order_of_arrival)
{
	struct queue queue = { .served = 0 };
	struct customer customers[QUEUE];
	struct mcsnode mine, *tail = &mine;

	mcslock_init(&queue.mcs);
	mcslock_lock(&queue.mcs, &mine);
	for (int i = 0; i < QUEUE; i++) {
		customers[i] = (struct customer){ .queue = &queue, .number = i };
		CHECK_EQ(pthread_create(&customers[i].pthread, NULL, queue_at_mcs, &customers[i]),
			0);
		WAIT_UNTIL(load_relaxed(&queue.mcs.tail) != tail);
		tail = load_relaxed(&queue.mcs.tail);
	}
	CHECK_EQ(queue.served, 0);
	mcslock_unlock(&queue.mcs, &mine);
	join_all(customers);
	CHECK(load_relaxed(&queue.mcs.tail) == NULL);
}

TEST(locks_and_nodes_keep_their_lines_to_themselves)
{
	struct two {
		struct spinlock lock;
		int data;
	} two;
	struct ticketlock ticket;

	CHECK_GE((char *)&two.data - (char *)&two.lock.held, FILAR_FALSE_SHARING_BYTES);
	CHECK_GE((char *)&ticket.serving - (char *)&ticket.next, FILAR_FALSE_SHARING_BYTES);
	CHECK_EQ((uintptr_t)&two % FILAR_FALSE_SHARING_BYTES, 0);
}

TEST_MAIN()

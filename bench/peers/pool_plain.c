/*
 * pool_plain.c - what anyone would write first, in the lines of pool.h: a linked queue under a
 * mutex, a condition variable, an allocation per task; for loops and forks no pool at all: the
 * serial time, which half of is the floor for two threads.
 */
#include "pool.h"

struct item {
	struct item *next;
	pool_body *body;
	void *argument;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct item *first, *last;
	long missing;
	bool stopping;
	pthread_t workers[2];
	int count;
} queue;

static void *worker(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&queue.lock);
	for (;;) {
		struct item *item = queue.first;

		if (item == NULL) {
			if (queue.stopping)
				break;
			pthread_cond_wait(&queue.work, &queue.lock);
			continue;
		}
		queue.first = item->next;
		pthread_mutex_unlock(&queue.lock);
		item->body(item->argument);
		free(item);
		pthread_mutex_lock(&queue.lock);
		if (--queue.missing == 0)
			pthread_cond_broadcast(&queue.done);
	}
	pthread_mutex_unlock(&queue.lock);
	return NULL;
}

static void start(int threads, bool submitting)
{
	memset(&queue, 0, sizeof queue);
	pthread_mutex_init(&queue.lock, NULL);
	pthread_cond_init(&queue.work, NULL);
	pthread_cond_init(&queue.done, NULL);
	queue.count = submitting ? threads : 0;
	for (int i = 0; i < queue.count; i++)
		pthread_create(&queue.workers[i], NULL, worker, NULL);
}

static void stop(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.stopping = true;
	pthread_cond_broadcast(&queue.work);
	pthread_mutex_unlock(&queue.lock);
	for (int i = 0; i < queue.count; i++)
		pthread_join(queue.workers[i], NULL);
}

static void submit(pool_body *body, void *argument)
{
	struct item *item = malloc(sizeof *item);

	if (item == NULL)
		exit(1);
	*item = (struct item){ NULL, body, argument };
	pthread_mutex_lock(&queue.lock);
	if (queue.first == NULL)
		queue.first = item;
	else
		queue.last->next = item;
	queue.last = item;
	queue.missing++;
	pthread_cond_signal(&queue.work);
	pthread_mutex_unlock(&queue.lock);
}

static void wait_for_all(void)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.missing > 0)
		pthread_cond_wait(&queue.done, &queue.lock);
	pthread_mutex_unlock(&queue.lock);
}

static void loop(enum pool_loop kind, int64_t count, pool_range *body, void *ctx)
{
	(void)kind;
	body(0, count, ctx);
}

/* A call per node, none unrolled. */
static __attribute__((noipa)) int64_t serial_fib(int n)
{
	int64_t left, right;

	if (n < 2)
		return n;
	left = serial_fib(n - 1);
	right = serial_fib(n - 2);
	return left + right;
}

static void fib(int n, int64_t *result)
{
	*result = serial_fib(n);
}

int main(int argc, char **argv)
{
	static const struct pool_peer peer = { start, stop, submit, NULL, wait_for_all, loop,
		{ "serial", NULL, NULL }, fib };

	return pool_main(&peer, argc, argv);
}

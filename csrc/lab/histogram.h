/*
 * histogram.h - times in buckets that grow with them: 64 for each power of two, so a percentile is
 * right to 1.6 %, whatever the number of samples, and recording costs a few instructions.
 *
 * After HdrHistogram (Tene), reduced to what is needed: one writer, counts of 32 bits.
 */
#ifndef FILAR_LAB_HISTOGRAM_H
#define FILAR_LAB_HISTOGRAM_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define HISTOGRAM_EACH    64u
#define HISTOGRAM_POWERS  42u /* up to 2^47 ns, more than a day */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_POWERS + 1) * HISTOGRAM_EACH)

struct histogram {
	uint64_t total;                     /* W */
	uint32_t counts[HISTOGRAM_BUCKETS]; /* W */
};

static inline void histogram_clear(struct histogram *histogram)
{
	memset(histogram, 0, sizeof *histogram);
}

/* Values below 64 have a bucket each; above, the power chooses a row and the next six bits a
 * bucket. */
static inline uint32_t histogram_bucket(uint64_t value)
{
	uint32_t power;

	if (value < HISTOGRAM_EACH)
		return (uint32_t)value;
	power = 63u - (uint32_t)__builtin_clzll(value) - 5u;
	if (power > HISTOGRAM_POWERS)
		return HISTOGRAM_BUCKETS - 1;
	return power * HISTOGRAM_EACH + (uint32_t)((value >> (power - 1)) & (HISTOGRAM_EACH - 1));
}

/* The least value of a bucket. */
static inline double histogram_value(uint32_t bucket)
{
	uint32_t power = bucket / HISTOGRAM_EACH;

	if (power == 0)
		return bucket;
	return ldexp((double)(HISTOGRAM_EACH + bucket % HISTOGRAM_EACH), (int)power - 1);
}

static inline void histogram_add(struct histogram *histogram, int64_t value)
{
	histogram->counts[histogram_bucket(value > 0 ? (uint64_t)value : 0)]++;
	histogram->total++;
}

/* The value that `share` (0 to 1) of all are at most, to the bucket's width; NaN of nothing. */
static inline double histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t seen = 0, wanted = (uint64_t)(share * (double)histogram->total);

	if (histogram->total == 0)
		return NAN;
	for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		seen += histogram->counts[bucket];
		if (seen > wanted || seen == histogram->total)
			return histogram_value(bucket);
	}
	return NAN;
}

#endif

/*
 * pictures.c - Mandelbrot's rows, which differ widely in their work, and blurs of video frames.
 */
#include "kernels/kernels.h"

static uint16_t escape_steps(double cr, double ci, int32_t steps_max)
{
	double zr = 0, zi = 0;
	int32_t steps = 0;

	while (steps < steps_max && zr * zr + zi * zi < 4) {
		double next = zr * zr - zi * zi + cr;

		zi = 2 * zr * zi + ci;
		zr = next;
		steps++;
	}
	return (uint16_t)steps;
}

void kernel_mandelbrot(int64_t begin, int64_t end, void *ctx)
{
	const filar_mandelbrot *m = ctx;

	for (int64_t row = begin; row < end; row++) {
		double ci = m->top + m->height * (double)row / (double)m->rows;
		uint16_t *line = m->picture + row * m->columns;

		for (int64_t column = 0; column < m->columns; column++) {
			double cr = m->left + m->width * (double)column / (double)m->columns;

			line[column] = escape_steps(cr, ci, m->steps_max);
		}
	}
}

/* ---- blurs ---- */

static int64_t clamp(int64_t value, int64_t end)
{
	return value < 0 ? 0 : value >= end ? end - 1 : value;
}

/* The sum over a column of (2 radius + 1) pixels around row, at byte `at` of each row. */
static uint32_t column_sum(const filar_blur *blur, int64_t row, int64_t at)
{
	int64_t stride = blur->columns * blur->channels;
	uint32_t sum = 0;

	for (int64_t r = row - blur->radius; r <= row + blur->radius; r++)
		sum += blur->source[clamp(r, blur->rows) * stride + at];
	return sum;
}

/* One channel of one row: a window of column sums slides along. */
static void box_row(const filar_blur *blur, int64_t row, int64_t channel)
{
	int64_t radius = blur->radius, side = 2 * radius + 1, area = side * side;
	uint8_t *target = blur->target + row * blur->columns * blur->channels;
	uint64_t sum = 0;

	for (int64_t c = -radius; c <= radius; c++)
		sum += column_sum(blur, row, clamp(c, blur->columns) * blur->channels + channel);
	for (int64_t c = 0; c < blur->columns; c++) {
		int64_t leaves = clamp(c - radius, blur->columns);
		int64_t enters = clamp(c + radius + 1, blur->columns);

		target[c * blur->channels + channel] =
			(uint8_t)((sum + (uint64_t)area / 2) / (uint64_t)area);
		sum += column_sum(blur, row, enters * blur->channels + channel);
		sum -= column_sum(blur, row, leaves * blur->channels + channel);
	}
}

void kernel_box_blur(int64_t begin, int64_t end, void *ctx)
{
	const filar_blur *blur = ctx;

	for (int64_t row = begin; row < end; row++) {
		for (int64_t channel = 0; channel < blur->channels; channel++)
			box_row(blur, row, channel);
	}
}

static const uint32_t gauss_weights[5] = { 1, 4, 6, 4, 1 };

static uint32_t gauss_column(const filar_blur *blur, int64_t row, int64_t at)
{
	int64_t stride = blur->columns * blur->channels;
	uint32_t sum = 0;

	for (int64_t k = 0; k < 5; k++)
		sum += gauss_weights[k] *
		       blur->source[clamp(row + k - 2, blur->rows) * stride + at];
	return sum;
}

static void gauss_row(const filar_blur *blur, int64_t row, int64_t channel)
{
	uint8_t *target = blur->target + row * blur->columns * blur->channels;
	uint32_t window[5];

	for (int64_t k = 0; k < 4; k++)
		window[k + 1] = gauss_column(
			blur, row, clamp(k - 2, blur->columns) * blur->channels + channel);
	for (int64_t c = 0; c < blur->columns; c++) {
		uint32_t sum = 0;

		for (int k = 0; k < 4; k++)
			window[k] = window[k + 1];
		window[4] = gauss_column(
			blur, row, clamp(c + 2, blur->columns) * blur->channels + channel);
		for (int k = 0; k < 5; k++)
			sum += gauss_weights[k] * window[k];
		target[c * blur->channels + channel] = (uint8_t)((sum + 128) / 256);
	}
}

void kernel_gauss_blur(int64_t begin, int64_t end, void *ctx)
{
	const filar_blur *blur = ctx;

	for (int64_t row = begin; row < end; row++) {
		for (int64_t channel = 0; channel < blur->channels; channel++)
			gauss_row(blur, row, channel);
	}
}

// Numbers, sizes and times as people read them. What is not known is a dash, never a number.

import { h } from './dom.js';

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const is = (number) => typeof number === 'number' && Number.isFinite(number);

function digits(number) {
  if (number >= 100 || Number.isInteger(number)) return number.toFixed(0);
  return number >= 10 ? number.toFixed(1) : number.toFixed(2);
}

/** `[number, unit]` of a size. */
export function sizeParts(bytes) {
  let step = 0;
  while (bytes >= 1024 && step < SIZES.length - 1) { bytes /= 1024; step += 1; }
  return [digits(bytes), SIZES[step]];
}

/** A size. */
export const size = (bytes) => (is(bytes) ? sizeParts(bytes).join(' ') : null);

/** A size a second. */
export const sizeRate = (bytes) => (is(bytes) ? `${size(bytes)}/s` : null);

/** A number with its thousands apart. */
export const whole = (number) => (is(number) ? Math.round(number).toLocaleString('en-US') : null);

/** A number, short: 12.3k. */
export function short(number) {
  if (!is(number)) return null;
  for (const [least, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (number >= least) return digits(number / (unit === 'k' ? 1e3 : least)) + unit;
  }
  return number >= 100 ? whole(number) : digits(number);
}

/** So many a second. */
export const perSecond = (number) => (is(number) ? `${short(number)}/s` : null);

/** Milliseconds, in the unit that suits them. */
export function ms(number) {
  if (!is(number)) return null;
  if (number < 1) return `${digits(number * 1000)} µs`;
  return number < 1000 ? `${digits(number)} ms` : `${digits(number / 1000)} s`;
}

/** A part as percent. */
export const percent = (part) => (is(part) ? `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %` : null);

/** Dollars. */
export const dollars = (number) => (is(number) ? `$${number < 100 ? number.toFixed(2) : whole(number)}` : null);

/** A span of seconds. */
export function span(seconds) {
  if (!is(seconds)) return null;
  const [d, hours, m] = [Math.floor(seconds / 86400), Math.floor((seconds % 86400) / 3600), Math.floor((seconds % 3600) / 60)];
  if (d > 0) return `${d} d ${hours} h`;
  if (hours > 0) return `${hours} h ${m} min`;
  const s = Math.floor(seconds % 60);
  return m > 0 ? `${m} min${s > 0 ? ` ${s} s` : ''}` : `${s} s`;
}

const two = (number) => String(number).padStart(2, '0');

/** A time of day. */
export function clock(at) {
  const date = new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** A moment, in local time. */
export function moment(at) {
  if (!is(at)) return null;
  const date = new Date(at);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${clock(at)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** A number that is nothing is there, and does not call for attention. */
export const quiet = (text, number) => (number === 0 && text !== null ? h('span', { class: 'mute' }, text) : text);

/** A text, or a dash that says that it is not known. */
export function known(text, why = 'not known') {
  if (text !== null && text !== undefined && text !== '') return text;
  return h('span', { class: 'unknown', title: why }, '–', h('span', { class: 'visually-hidden' }, why));
}

/*
 * The shared memory's tables with threads as workers: prints TAP.  A fake
 * ledger stands for the database; it knows every lease and what became of it.
 */

#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_commerce_zone_sh.h"
#include "ngx_commerce_cache.h"
#include "ngx_commerce_replay.h"

#include <stdarg.h>
#include <sys/wait.h>


#define WORKERS   4
#define VARIANTS  16
#define ROUNDS    15000
#define STOCK     20000
#define LEASES    400000
#define HELD      24

#define price(item, quantity)  ngx_commerce_stock_item_price(item, quantity)


typedef struct {
    int64_t     instance;
    uint32_t    variant;
    uint32_t    granted;
    uint32_t    returned;
    uint32_t    sold;
    int         closed;
} lease_t;


static int               tests;
static int               failed;

static ngx_commerce_zone_t  master;
static ngx_shm_zone_t       shm_zone;
static ngx_slab_pool_t     *slab;
static u_char              *arena;

static pthread_mutex_t   ledger = PTHREAD_MUTEX_INITIALIZER;
static lease_t           leases[LEASES];
static int64_t           nleases;
static int64_t           free_units[VARIANTS];
static int               broken;
static u_char            alphabet[60100];


static void
ok(int pass, const char *format, ...)
{
    va_list  args;

    printf("%sok %d - ", pass ? "" : "not ", ++tests);

    va_start(args, format);
    vprintf(format, args);
    va_end(args);

    printf("\n");
    fflush(stdout);

    if (!pass) {
        failed++;
    }
}


static void
zone_up(size_t size)
{
    free(arena);
    free(slab);

    slab = calloc(1, sizeof(ngx_slab_pool_t));
    pthread_mutex_init(&slab->mutex.lock, NULL);
    slab->pfree = size / ngx_pagesize;
    arena = aligned_alloc(4096, size);
    slab->next = arena;

    memset(&master, 0, sizeof(master));
    memset(&shm_zone, 0, sizeof(shm_zone));

    master.database.data = (u_char *) "host=a";
    master.database.len = 6;
    master.shm_zone = &shm_zone;

    shm_zone.data = &master;
    shm_zone.shm.addr = (u_char *) slab;
    shm_zone.shm.size = size;
}


static ngx_commerce_zone_t
worker(ngx_int_t slot, ngx_pid_t pid)
{
    ngx_commerce_zone_t  zone;

    zone = master;
    ngx_process_slot = slot;
    ngx_pid = pid;

    ngx_commerce_zone_worker_start(&zone);

    return zone;
}


static ngx_pid_t
dead_pid(void)
{
    ngx_pid_t  pid;

    pid = fork();

    if (pid == 0) {
        _exit(0);
    }

    waitpid(pid, NULL, 0);

    return pid;
}


static commerce_uuid_t
uuid(uint32_t n)
{
    commerce_uuid_t  id;

    memset(&id, 0, sizeof(id));
    memcpy(id.bytes, &n, sizeof(n));

    return id;
}


static ngx_commerce_variant_t
variant(uint32_t n)
{
    ngx_commerce_variant_t  v;

    memset(&v, 0, sizeof(v));

    v.id = uuid(n);
    v.product_id = uuid(1000000 + n);
    v.version = 1;
    v.for_sale = 1;
    v.nprices = 2;
    v.prices[0] = (ngx_commerce_stock_price_t) { "EUR", 1, 200 + n };
    v.prices[1] = (ngx_commerce_stock_price_t) { "USD", 1, 100 + n };
    v.sku_len = snprintf((char *) v.sku, sizeof(v.sku), "sku-%u", n);
    v.title_len = snprintf((char *) v.title, sizeof(v.title), "Title %u", n);

    return v;
}


static ngx_int_t
put(ngx_commerce_zone_t *zone, uint32_t n)
{
    ngx_commerce_variant_t  v;

    v = variant(n);

    return ngx_commerce_stock_put(zone, &v, ngx_commerce_stock_stamp(zone));
}


static ngx_int_t
find(ngx_commerce_zone_t *zone, uint32_t n, ngx_commerce_stock_item_t *item)
{
    commerce_uuid_t  id;

    id = uuid(n);

    return ngx_commerce_stock_find_id(zone, &id, (u_char *) "EUR", item);
}


static ngx_int_t
find_sku(ngx_commerce_zone_t *zone, const char *sku,
    ngx_commerce_stock_item_t *item)
{
    return ngx_commerce_stock_find_sku(zone, (u_char *) sku, strlen(sku),
                                       (u_char *) "USD", item);
}


static void
test_zone(void)
{
    ngx_uint_t               left;
    ngx_commerce_zone_t      next, a, b;
    ngx_commerce_instance_e  state;

    zone_up(256 * 1024);
    ok(ngx_commerce_zone_init(&shm_zone, NULL) == NGX_ERROR,
       "a zone without room for its tables is refused");

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ok(ngx_commerce_zone_init(&shm_zone, NULL) == NGX_OK,
       "the smallest zone is created");
    ok(master.sh->variants.n > 3000 && master.sh->cache.nchunks > 2000
       && master.sh->replays.sets > 100,
       "with %u variants, %u cache chunks, %u replay sets",
       master.sh->variants.n, master.sh->cache.nchunks,
       master.sh->replays.sets);

    ngx_commerce_zone_new_generation(&master);

    next = master;
    next.sh = NULL;
    shm_zone.data = &next;
    ok(ngx_commerce_zone_init(&shm_zone, &master) == NGX_OK
       && next.sh == master.sh,
       "the next configuration adopts it");

    next.database.data = (u_char *) "host=b";
    ok(ngx_commerce_zone_init(&shm_zone, &master) == NGX_ERROR,
       "but not with another database");

    next.database = master.database;
    master.sh->layout++;
    ok(ngx_commerce_zone_init(&shm_zone, &master) == NGX_ERROR,
       "nor with another layout");
    master.sh->layout--;

    ok(ngx_commerce_zone_identity(&master, &state) == 0
       && state == NGX_COMMERCE_INSTANCE_NONE, "there is no instance yet");

    a = worker(0, getpid());
    b = worker(1, getpid());
    ok(ngx_commerce_zone_workers(&a) == 2, "two workers are counted");

    ok(ngx_commerce_zone_lead(&a, 1000) && !ngx_commerce_zone_lead(&b, 1000)
       && ngx_commerce_zone_lead(&a, 1000), "one of them leads");
    fake_msec += 1001;
    ok(ngx_commerce_zone_lead(&b, 1000) && !ngx_commerce_zone_lead(&a, 1000),
       "one that is silent too long loses the lead");
    ngx_commerce_zone_resign(&b);
    ok(ngx_commerce_zone_lead(&a, 1000), "one that resigns at once");

    ngx_commerce_zone_adopt(&a, 7);
    ok(ngx_commerce_zone_instance(&b) == 7, "the instance is live");
    ngx_commerce_zone_doubt(&a, 6, "test");
    ok(ngx_commerce_zone_instance(&b) == 7, "doubt of another id is nothing");
    ngx_commerce_zone_doubt(&a, 7, "test");
    ok(ngx_commerce_zone_instance(&b) == 0
       && ngx_commerce_zone_identity(&b, &state) == 7
       && state == NGX_COMMERCE_INSTANCE_DOUBT, "doubt of its id counts");

    ngx_commerce_zone_adopt(&a, 8);
    left = ngx_commerce_zone_worker_stop(&b);
    ok(left == 1 && ngx_commerce_zone_instance(&a) == 8,
       "a worker that stops is not doubted");
    b = worker(1, dead_pid());
    ok(ngx_commerce_zone_instance(&a) == 8, "nor is its successor");
    ngx_commerce_zone_bury(&a);
    ok(ngx_commerce_zone_instance(&a) == 0
       && ngx_commerce_zone_workers(&a) == 1,
       "one whose pid is gone is buried, with doubt");

    ngx_commerce_zone_adopt(&a, 9);
    b = worker(1, getpid());
    ok(ngx_commerce_zone_instance(&a) == 9, "a buried slot is clean");
    b = worker(1, getpid());
    ok(ngx_commerce_zone_instance(&a) == 0,
       "one found occupied at the start of a worker is doubted");

    ngx_commerce_zone_adopt(&a, 10);
    ngx_commerce_zone_lock(&a);
    ngx_commerce_zone_write(&a);
    ngx_shmtx_unlock(&slab->mutex);
    ngx_commerce_zone_lock(&b);
    ngx_commerce_zone_unlock(&b);
    ok(ngx_commerce_zone_instance(&a) == 0 && a.sh->dirty == 0,
       "a mutex freed in the middle of a write resets the zone");

    ngx_commerce_zone_new_generation(&next);
    ok(ngx_commerce_zone_outdated(&a) && !ngx_commerce_zone_outdated(&next)
       && ngx_commerce_zone_workers(&a) == 0
       && !ngx_commerce_zone_lead(&a, 1000),
       "after a reload old workers neither count nor lead");

    ok(ngx_commerce_zone_worker_stop(&a) == 1
       && ngx_commerce_zone_worker_stop(&b) == 0,
       "exactly one worker is the last of its generation");
}


static void
test_variants(void)
{
    uint32_t                      i, n;
    ngx_int_t                     rc;
    commerce_uuid_t               id;
    ngx_atomic_uint_t             stamp;
    ngx_commerce_zone_t           zone;
    ngx_commerce_variant_t        v;
    ngx_commerce_stock_item_t     item, first;
    ngx_commerce_availability_e   availability;
    ngx_commerce_stock_refill_t   refill;
    ngx_commerce_stock_hold_t     hold, left;
    ngx_commerce_stock_stats_t    stats;

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ngx_commerce_zone_init(&shm_zone, NULL);
    ngx_commerce_zone_new_generation(&master);
    zone = worker(0, getpid());
    ngx_commerce_zone_adopt(&zone, 1);

    ok(find(&zone, 5, &item) == NGX_DECLINED, "an unknown variant is missed");
    ok(put(&zone, 5) == NGX_OK && find(&zone, 5, &item) == NGX_OK
       && price(&item, 1) == 205 && item.sku_len == 5,
       "one that was put is found by id");
    ok(find_sku(&zone, "sku-5", &item) == NGX_OK
       && price(&item, 1) == 105, "and by sku, each in its currency");
    ok(ngx_commerce_stock_find_sku(&zone, (u_char *) "sku-5", 5,
                                   (u_char *) "XXX", &item) == NGX_OK
       && price(&item, 1) == -1, "no price is told as -1");

    stamp = ngx_commerce_stock_stamp(&zone);
    id = uuid(5);
    ngx_commerce_stock_forget(&zone, &id);
    ok(find(&zone, 5, &item) == NGX_DECLINED, "a forgotten row is missed");

    v = variant(5);
    ngx_commerce_stock_put(&zone, &v, stamp);
    ok(find(&zone, 5, &item) == NGX_DECLINED,
       "a copy that was read before is not believed");
    put(&zone, 5);
    ok(find(&zone, 5, &item) == NGX_OK, "one that was read after is");

    stamp = ngx_commerce_stock_stamp(&zone);
    id = uuid(6);
    ngx_commerce_stock_forget(&zone, &id);
    v = variant(6);
    ngx_commerce_stock_put(&zone, &v, stamp);
    ok(find(&zone, 6, &item) == NGX_DECLINED,
       "news count for a variant that was not in the table, too");

    id = uuid(1000005);
    ngx_commerce_stock_forget_product(&zone, &id);
    ok(find(&zone, 5, &item) == NGX_DECLINED, "a product's news counts");
    put(&zone, 5);
    ngx_commerce_stock_forget(&zone, NULL);
    ok(find(&zone, 5, &item) == NGX_DECLINED, "all can be forgotten");

    put(&zone, 5);
    v = variant(7);
    memcpy(v.sku, "sku-5", 5);
    ngx_commerce_stock_put(&zone, &v, ngx_commerce_stock_stamp(&zone));
    ok(find_sku(&zone, "sku-5", &item) == NGX_OK
       && memcmp(&item.id, &v.id, 16) == 0
       && find(&zone, 5, &item) == NGX_DECLINED, "a sku is taken over");

    v = variant(8);
    v.sku_len = 65;
    ok(ngx_commerce_stock_put(&zone, &v, 0) == NGX_ERROR,
       "a sku that is too long does not get in");

    v = variant(8);
    v.nprices = COMMERCE_AMOUNTS_MAX + 1;
    ok(ngx_commerce_stock_put(&zone, &v, 0) == NGX_ERROR,
       "nor do more prices than there is room for");
    for (v.nprices = 2; v.nprices < COMMERCE_AMOUNTS_MAX; v.nprices++) {
        v.prices[v.nprices] = (ngx_commerce_stock_price_t) {
            "USD", 10 * (v.nprices - 1), 100 - v.nprices };
    }
    ngx_commerce_stock_put(&zone, &v, ngx_commerce_stock_stamp(&zone));
    find_sku(&zone, "sku-8", &item);
    ok(price(&item, 9) == 108 && price(&item, 10) == 98
       && price(&item, 79) == 92 && price(&item, 1000000) == 91,
       "a price is that of the quantity's tier, of so many as can be");

    v = variant(9);
    v.free = 3;
    ngx_commerce_stock_put(&zone, &v, ngx_commerce_stock_stamp(&zone));
    id = uuid(9);
    ngx_commerce_stock_availability(&zone, &id, 5, &availability);
    ok(availability == NGX_COMMERCE_LOW_STOCK, "3 free: low_stock");
    ngx_commerce_stock_set_free(&zone, &id, 6);
    ngx_commerce_stock_availability(&zone, &id, 5, &availability);
    ok(availability == NGX_COMMERCE_IN_STOCK, "6 free: in_stock");
    ngx_commerce_stock_set_free(&zone, &id, 0);
    ngx_commerce_stock_availability(&zone, &id, 5, &availability);
    ok(availability == NGX_COMMERCE_SOLD_OUT, "none free: sold_out");

    /* more variants than slots: one with units stays where it is */

    put(&zone, 100);
    find(&zone, 100, &first);
    ngx_commerce_stock_refill_begin(&zone, &first.ref, 10, 0, &refill);
    ngx_commerce_stock_refill_end(&zone, &refill, 77, 10, 0, 0, 0, &left);

    put(&zone, 101);
    find(&zone, 101, &item);

    n = zone.sh->variants.n;

    for (i = 0, rc = NGX_OK; i < 3 * n && rc == NGX_OK; i++) {
        rc = put(&zone, 1000 + i);
    }

    ok(rc == NGX_OK, "slots are reused without end");
    ok(find(&zone, 100, &item) == NGX_OK && item.ref.index == first.ref.index
       && ngx_commerce_stock_take(&zone, &first.ref, 4, &hold) == NGX_OK
       && hold.lease == 77, "but not the slot with units");
    ok(find(&zone, 101, &item) == NGX_DECLINED, "old ones are gone");

    put(&zone, 101);
    find(&zone, 101, &item);
    for (i = 0; i < 3 * n; i++) {
        put(&zone, 500000 + i);
    }
    ok(ngx_commerce_stock_take(&zone, &item.ref, 1, &left) == NGX_ERROR,
       "who holds a reused slot is told");

    ngx_commerce_stock_put_back(&zone, &first.ref, &hold);
    ok(ngx_commerce_zone_in_hand(&zone) == 0, "nothing is in hand");

    for (i = 0; i < n; i++) {
        item.ref.index = i;
        item.ref.serial = zone.sh->variants.slots[i].serial;
        if (ngx_commerce_stock_refill_begin(&zone, &item.ref, 1, 0, &refill)
            == NGX_OK)
        {
            ngx_commerce_stock_refill_end(&zone, &refill, 1000 + i, 1, 0, 0, 0,
                                          &left);
        }
    }

    rc = put(&zone, 900000);
    ngx_commerce_stock_stats(&zone, &stats);
    ok(rc == NGX_BUSY && stats.full == 1 && stats.units == n,
       "a zone in which every slot has units is full");
    ok(put(&zone, 900001) == NGX_BUSY, "and stays so for a moment");
    ngx_commerce_zone_doubt(&zone, 0, "test");
    ngx_commerce_zone_adopt(&zone, 2);
    ok(put(&zone, 900001) == NGX_OK, "until the pools are empty");
}


static void
test_pool(void)
{
    commerce_uuid_t              id;
    ngx_atomic_uint_t            activity;
    ngx_commerce_zone_t          a, b;
    ngx_commerce_stock_ref_t     ref;
    ngx_commerce_stock_item_t    item;
    ngx_commerce_stock_hold_t    hold, other, left;
    ngx_commerce_stock_view_t    view;
    ngx_commerce_stock_refill_t  refill, second;

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ngx_commerce_zone_init(&shm_zone, NULL);
    ngx_commerce_zone_new_generation(&master);
    a = worker(0, getpid());
    b = worker(1, getpid());

    put(&a, 1);
    find(&a, 1, &item);
    ref = item.ref;
    id = uuid(1);

    ok(ngx_commerce_stock_refill_begin(&a, &ref, 10, 0, &refill)
       == NGX_DECLINED, "no refill without an instance");

    ngx_commerce_zone_adopt(&a, 1);

    ok(ngx_commerce_stock_take(&a, &ref, 1, &hold) == NGX_DECLINED,
       "an empty pool gives nothing");
    ngx_commerce_stock_want(&a, &ref, 3);
    ngx_commerce_stock_want(&b, &ref, 4);
    ok(ngx_commerce_stock_refill_begin(&a, &ref, 10, 0, &refill) == NGX_OK
       && refill.wanted == 7 && refill.extra == 10 && refill.instance == 1,
       "a refill knows what requests wait for");
    ok(ngx_commerce_stock_refill_begin(&b, &ref, 10, 0, &second) == NGX_BUSY,
       "there is one at a time");
    ngx_commerce_stock_refill_end(&a, &refill, 50, 17, 100, 0, 0, &left);
    ngx_commerce_stock_want(&a, &ref, -3);
    ngx_commerce_stock_want(&b, &ref, -4);
    ok(left.units == 0 && ngx_commerce_stock_look(&a, &ref, &view) == NGX_OK
       && view.units == 17 && view.free == 100 && !view.refilling
       && view.started == 1 && view.ended == 1, "its lease is installed");

    activity = ngx_commerce_zone_activity(&a);
    ok(ngx_commerce_stock_take(&b, &ref, 18, &hold) == NGX_DECLINED,
       "never more than there is");
    ok(ngx_commerce_zone_activity(&a) == activity
       && ngx_commerce_zone_in_hand(&a) == 0, "a refusal leaves no trace");
    ok(ngx_commerce_stock_take(&b, &ref, 7, &hold) == NGX_OK
       && hold.lease == 50 && hold.instance == 1 && hold.units == 7
       && ngx_commerce_zone_in_hand(&a) == 7
       && ngx_commerce_zone_activity(&a) != activity,
       "what is taken names its lease and is in hand");
    ok(!ngx_commerce_stock_is_low(&a, &ref, 50)
       && ngx_commerce_stock_is_low(&a, &ref, 60), "low water is a share");
    ngx_commerce_stock_put_back(&b, &ref, &hold);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.units == 17 && ngx_commerce_zone_in_hand(&a) == 0,
       "what is put back is there again");

    ngx_commerce_stock_take(&a, &ref, 7, &hold);
    ngx_commerce_stock_take(&b, &ref, 2, &other);
    ngx_commerce_stock_sold(&b, &other);
    ok(ngx_commerce_zone_in_hand(&a) == 7, "what is sold has left the hand");

    fake_msec += 200;
    ok(ngx_commerce_stock_refill_begin(&a, &ref, 4, 1, &refill) == NGX_OK
       && refill.return_lease == 50 && refill.return_units == 8
       && refill.extra == 18,
       "a refill empties the pool first; extra follows the rate");
    ngx_commerce_stock_put_back(&a, &ref, &hold);
    ngx_commerce_stock_refill_end(&a, &refill, 51, 20, 90, 0, 0, &left);
    ok(left.lease == 50 && left.units == 7 && left.instance == 1,
       "what came back meanwhile is left over");

    ngx_commerce_stock_take(&a, &ref, 5, &hold);
    ngx_commerce_stock_refill_begin(&b, &ref, 4, 0, &refill);
    ok(refill.extra == 256, "what goes fast is stocked up for a while, but"
       " never by more than 64 blocks");
    ngx_commerce_stock_refill_end(&b, &refill, 52, 4, 80, 0, 0, &left);
    ok(left.units == 15, "a new lease replaces it");
    ok(ngx_commerce_stock_put_back(&a, &ref, &hold) == NGX_DECLINED,
       "units of a lease that is gone are not put back");
    activity = ngx_commerce_zone_activity(&b);
    ngx_commerce_stock_carry(&a, hold.units);
    ok(ngx_commerce_zone_in_hand(&b) == 5
       && ngx_commerce_zone_activity(&b) != activity,
       "on their way back they count as in hand");
    activity = ngx_commerce_zone_activity(&b);
    ngx_commerce_stock_carry(&a, -(int64_t) hold.units);
    ok(ngx_commerce_zone_in_hand(&b) == 0
       && ngx_commerce_zone_activity(&b) != activity,
       "until they are there");
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.units == 4 && ngx_commerce_zone_in_hand(&a) == 0,
       "their caller has them, the pool has not");

    ok(!ngx_commerce_stock_is_idle(&a, ref.index, 1000), "it is not idle");
    fake_msec += 1000;
    ok(ngx_commerce_stock_is_idle(&a, ref.index, 1000), "now it is");
    ngx_commerce_stock_refill_begin(&b, &ref, 4, 0, &refill);
    ok(refill.extra == 4, "the rate of long ago does not count");
    ok(ngx_commerce_stock_empty(&a, ref.index, &hold, &id) == NGX_DECLINED,
       "nothing is emptied under a refill");
    ngx_commerce_stock_refill_end(&b, &refill, 0, 0, -1, 0, 0, &left);
    ok(ngx_commerce_stock_take(&a, &ref, 1, &other) == NGX_OK
       && ngx_commerce_stock_empty(&a, ref.index, &hold, &id) == NGX_OK
       && hold.units == 3 && hold.lease == 52
       && memcmp(&id, &item.id, 16) == 0, "after it, it is");
    ngx_commerce_stock_put_back(&a, &ref, &other);
    ok(ngx_commerce_stock_empty(&b, ref.index, &hold, &id) == NGX_OK
       && hold.units == 1, "and again");

    /* sold out */

    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_news(&b, &id);
    ngx_commerce_stock_refill_end(&a, &refill, 0, 0, 0, 0, 0, &left);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(!view.sold_out, "news during a refill: not sold out");
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 0, 0, 0, 0, 1, &left);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(!view.sold_out && view.others, "nor while others have a lease");
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 0, 0, -1, 0, 0, &left);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(!view.sold_out && view.ended + 1 == view.started,
       "nor when the refill failed: it has no answer");
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 0, 0, 0, 0, 0, &left);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.sold_out && view.ended == view.started, "else it is sold out");
    fake_msec += 1000;
    ngx_commerce_stock_look(&a, &ref, &view);
    ngx_commerce_stock_look(&b, &ref, &view);
    ok(view.sold_out && view.probe_due,
       "after a second a probe is due, however many look");
    ok(ngx_commerce_stock_probe(&b, &ref) && !ngx_commerce_stock_probe(&a, &ref)
       && !ngx_commerce_stock_probe(&b, &ref), "one goes");
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.sold_out && !view.probe_due, "for the others it stays sold out");
    fake_msec += 1001;
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.probe_due && ngx_commerce_stock_probe(&a, &ref),
       "another one goes a second later");
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 0, 0, 0, 0, 0, &left);
    ngx_commerce_stock_look(&b, &ref, &view);
    ok(view.sold_out && !view.probe_due, "which finds nothing");
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 53, 1, 0, 1, 0, &left);
    ngx_commerce_stock_look(&b, &ref, &view);
    ok(!view.sold_out && !ngx_commerce_stock_probe(&b, &ref),
       "or a unit: that clears it");
    ok(ngx_commerce_stock_empty(&a, ref.index, &hold, &id) == NGX_OK
       && hold.lease == 53, "the unit goes back");
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 0, 0, 0, 0, 0, &left);
    ngx_commerce_stock_news(&b, NULL);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(!view.sold_out, "news clear it");

    /* rotation */

    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_stock_refill_end(&a, &refill, 60, 10, 5, 0, 0, &left);
    ngx_commerce_stock_take(&a, &ref, 2, &hold);
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ngx_commerce_zone_doubt(&b, 1, "test");
    ok(ngx_commerce_stock_take(&a, &ref, 1, &other) == NGX_DECLINED
       && ngx_commerce_stock_empty(&a, ref.index, &other, &id)
          == NGX_DECLINED, "an instance in doubt sells nothing");
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.units == 0, "and shows nothing");
    ngx_commerce_zone_adopt(&b, 2);
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &second);
    ngx_commerce_stock_refill_end(&a, &refill, 61, 10, 5, 0, 0, &left);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.units == 0 && view.refilling && left.units == 0,
       "a refill of the old instance ends without effect");
    ngx_commerce_stock_refill_end(&a, &second, 62, 3, 5, 0, 0, &left);
    ngx_commerce_stock_put_back(&a, &ref, &hold);
    ngx_commerce_stock_look(&a, &ref, &view);
    ok(view.units == 3 && !view.refilling,
       "units of the old instance do not come back");

    ngx_commerce_stock_want(&a, &ref, 5);
    ngx_commerce_zone_adopt(&b, 3);
    ngx_commerce_stock_want(&a, &ref, -5);
    ngx_commerce_stock_want(&a, &ref, 2);
    ngx_commerce_stock_refill_begin(&a, &ref, 4, 0, &refill);
    ok(refill.wanted == 2, "what waited before does not count below zero");

    ngx_commerce_zone_worker_stop(&a);
    ok(ngx_commerce_stock_refill_begin(&b, &ref, 4, 0, &second) == NGX_OK,
       "a refill mark falls with its worker");
    ngx_commerce_stock_refill_end(&b, &second, 63, 9, 1, 0, 0, &left);
    ngx_commerce_zone_lock(&b);
    ngx_commerce_zone_reset(&b);
    ngx_commerce_zone_unlock(&b);
    ngx_commerce_zone_adopt(&b, 4);
    ok(ngx_commerce_stock_take(&b, &ref, 1, &hold) == NGX_ERROR,
       "after a reset no old reference works");
}


static int64_t
grant(int64_t instance, uint32_t n, uint32_t need, uint32_t extra,
    uint32_t *granted, int32_t *left_free)
{
    int64_t  id, more;

    pthread_mutex_lock(&ledger);

    id = 0;
    *granted = 0;

    /* the fence: instances are numbered, the last one is live */

    if (free_units[n] >= need && free_units[n] > 0
        && instance == ngx_commerce_zone_instance(&master)
        && nleases + 1 < LEASES)
    {
        more = (free_units[n] - need) / 4;
        more = more < extra ? more : extra;

        if (need + more > 0) {
            id = ++nleases;
            *granted = need + more;

            leases[id].instance = instance;
            leases[id].variant = n;
            leases[id].granted = *granted;
            free_units[n] -= *granted;
        }
    }

    *left_free = free_units[n];

    pthread_mutex_unlock(&ledger);

    return id;
}


static void
give_back(int64_t id, uint32_t units)
{
    lease_t  *lease;

    pthread_mutex_lock(&ledger);

    lease = &leases[id];

    if (!lease->closed) {
        free_units[lease->variant] += units;
        lease->returned += units;
    }

    if (lease->returned + lease->sold > lease->granted) {
        broken = 1;
    }

    pthread_mutex_unlock(&ledger);
}


static void
sell(ngx_commerce_stock_hold_t *hold, uint32_t n)
{
    lease_t  *lease;

    pthread_mutex_lock(&ledger);

    lease = &leases[hold->lease];

    if (lease->variant != n || lease->instance != hold->instance) {
        broken = 1;
    }

    if (!lease->closed) {
        lease->sold += hold->units;

        if (lease->returned + lease->sold > lease->granted) {
            broken = 1;
        }
    }

    pthread_mutex_unlock(&ledger);
}


/* What settlement finds unused; the instance's leases are closed by it. */

static int64_t
settle(int64_t instance)
{
    int64_t   i, unused, found;
    lease_t  *lease;

    found = 0;

    pthread_mutex_lock(&ledger);

    for (i = 1; i <= nleases; i++) {
        lease = &leases[i];

        if (lease->instance != instance || lease->closed) {
            continue;
        }

        unused = (int64_t) lease->granted - lease->returned - lease->sold;

        if (unused < 0) {
            broken = 1;
        }

        lease->closed = 1;
        lease->returned += unused;
        free_units[lease->variant] += unused;
        found += unused;
    }

    pthread_mutex_unlock(&ledger);

    return found;
}


static void
refill_one(ngx_commerce_zone_t *zone, ngx_commerce_stock_ref_t *ref,
    uint32_t n, uint32_t units, unsigned *seed)
{
    int32_t                      left_free;
    int64_t                      id;
    uint32_t                     granted;
    ngx_commerce_stock_hold_t    left;
    ngx_commerce_stock_refill_t  refill;

    if (ngx_commerce_stock_refill_begin(zone, ref, 1 + rand_r(seed) % 20,
                                        rand_r(seed) % 2, &refill) != NGX_OK)
    {
        return;
    }

    if (refill.return_units) {
        give_back(refill.return_lease, refill.return_units);
    }

    id = grant(refill.instance, n, units, refill.extra, &granted, &left_free);

    ngx_commerce_stock_refill_end(zone, &refill, id, granted, left_free, 0, 0,
                                  &left);
    if (left.units) {
        give_back(left.lease, left.units);
    }
}


static void
trade(ngx_commerce_zone_t *zone, ngx_int_t slot, int rotates)
{
    int                          i, k, held;
    int64_t                      old;
    uint32_t                     n, units;
    unsigned                     seed;
    ngx_int_t                    rc;
    commerce_uuid_t              id;
    ngx_commerce_stock_item_t    item;
    struct {
        uint32_t                    variant;
        ngx_commerce_stock_ref_t    ref;
        ngx_commerce_stock_hold_t   hold;
    }                            hands[HELD];

    seed = 17 + slot;
    held = 0;

    for (i = 0; i < ROUNDS; i++) {

        n = rand_r(&seed) % VARIANTS;
        units = 1 + rand_r(&seed) % 3;

        if (held == HELD || (held && rand_r(&seed) % 4 == 0)) {
            k = rand_r(&seed) % held;

            if (rand_r(&seed) % 2) {
                if (ngx_commerce_stock_put_back(zone, &hands[k].ref,
                                                &hands[k].hold)
                    != NGX_OK)
                {
                    give_back(hands[k].hold.lease, hands[k].hold.units);
                }
            } else {
                sell(&hands[k].hold, hands[k].variant);
                ngx_commerce_stock_sold(zone, &hands[k].hold);
            }

            hands[k] = hands[--held];
            continue;
        }

        if (find(zone, n, &item) != NGX_OK) {
            put(zone, n);
            continue;
        }

        rc = ngx_commerce_stock_take(zone, &item.ref, units,
                                     &hands[held].hold);
        if (rc == NGX_OK) {
            hands[held].variant = n;
            hands[held].ref = item.ref;
            held++;
            continue;
        }

        refill_one(zone, &item.ref, n, units, &seed);

        if (rand_r(&seed) % 50 == 0
            && ngx_commerce_stock_empty(zone, item.ref.index,
                                        &hands[held].hold, &id) == NGX_OK)
        {
            give_back(hands[held].hold.lease, hands[held].hold.units);
        }

        if (rotates && rand_r(&seed) % 500 == 0) {
            old = ngx_commerce_zone_instance(zone);
            ngx_commerce_zone_doubt(zone, 0, "test");

            if (old) {
                settle(old);
                ngx_commerce_zone_adopt(zone, old + 1);
            }
        }
    }

    while (held--) {
        if (ngx_commerce_stock_put_back(zone, &hands[held].ref,
                                        &hands[held].hold)
            != NGX_OK)
        {
            give_back(hands[held].hold.lease, hands[held].hold.units);
        }
    }
}


static int  rotations;


static void *
trader(void *data)
{
    ngx_int_t            slot;
    ngx_commerce_zone_t  zone;

    slot = (ngx_int_t) (intptr_t) data;
    zone = worker(slot, getpid());

    trade(&zone, slot, rotations && slot == 0);

    ngx_commerce_zone_worker_stop(&zone);

    return NULL;
}


static void
test_threads(int rotate)
{
    int                          i;
    int64_t                      total, sold, pooled, unused, k;
    uint32_t                     n;
    pthread_t                    threads[WORKERS];
    ngx_commerce_zone_t          zone;
    ngx_commerce_stock_stats_t   stats;

    rotations = rotate;

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ngx_commerce_zone_init(&shm_zone, NULL);
    ngx_commerce_zone_new_generation(&master);

    zone = worker(10, getpid());
    ngx_commerce_zone_adopt(&zone, 1);

    nleases = 0;
    broken = 0;
    memset(leases, 0, sizeof(leases));

    for (n = 0; n < VARIANTS; n++) {
        free_units[n] = STOCK;
    }

    for (i = 0; i < WORKERS; i++) {
        pthread_create(&threads[i], NULL, trader, (void *) (intptr_t) i);
    }

    for (i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }

    sold = 0;
    unused = 0;
    total = 0;

    for (k = 1; k <= nleases; k++) {
        sold += leases[k].sold;
        unused += (int64_t) leases[k].granted - leases[k].returned
                  - leases[k].sold;
    }

    for (n = 0; n < VARIANTS; n++) {
        total += free_units[n];
    }

    ngx_commerce_stock_stats(&zone, &stats);
    pooled = stats.units;

    ok(!broken, "%s: no lease gave more than it had",
       rotate ? "with rotations" : "threads");
    ok(sold > 0 && total + unused + sold == (int64_t) VARIANTS * STOCK,
       "free %ld + unused %ld + sold %ld: every unit is somewhere",
       (long) total, (long) unused, (long) sold);
    ok(pooled <= unused, "%ld in pools, the rows say %ld", (long) pooled,
       (long) unused);
    ok(ngx_commerce_zone_in_hand(&zone) == 0, "nothing is in hand");

    settle(ngx_commerce_zone_instance(&zone));

    for (n = 0, total = 0; n < VARIANTS; n++) {
        total += free_units[n];
    }

    ok(!broken && total + sold == (int64_t) VARIANTS * STOCK,
       "settlement brings every unit back");
}


static void *
cacher(void *data)
{
    int                  i;
    u_char              *text;
    size_t               len;
    uint32_t             n;
    unsigned             seed;
    intptr_t             bad;
    uint64_t             tag;
    ngx_str_t            key, body, got;
    ngx_pool_t           pool;
    ngx_commerce_zone_t  zone;
    char                 name[32];

    seed = (unsigned) (uintptr_t) data;
    zone = worker(seed, getpid());
    pool.block = NULL;
    bad = 0;

    for (i = 0; i < 4000; i++) {
        n = rand_r(&seed) % 300;
        len = n * n * 7 % 60000;

        key.data = (u_char *) name;
        key.len = snprintf(name, sizeof(name), "/v1/products/%u", n);

        text = alphabet + n % 26;

        if (ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag) == NGX_OK) {
            if (tag != n || got.len != len
                || memcmp(got.data, text, len) != 0)
            {
                bad = 1;
            }

        } else {
            body.data = text;
            body.len = len;
            ngx_commerce_cache_put(&zone, &key, &body, n,
                                   ngx_commerce_cache_stamp(&zone));
        }

        if (rand_r(&seed) % 700 == 0) {
            ngx_commerce_cache_forget_all(&zone);
        }

        if (rand_r(&seed) % 100 == 0) {
            __atomic_add_fetch(&fake_msec, 100, __ATOMIC_RELAXED);
        }
    }

    free(pool.block);
    ngx_commerce_zone_worker_stop(&zone);

    return (void *) bad;
}


static void
test_cache(void)
{
    int                         i, bad;
    void                       *result;
    u_char                      long_key[513];
    uint64_t                    tag;
    ngx_str_t                   key, body, got;
    pthread_t                   threads[WORKERS];
    ngx_pool_t                  pool;
    ngx_atomic_uint_t           stamp;
    ngx_commerce_zone_t         zone;
    ngx_commerce_cache_stats_t  stats;

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ngx_commerce_zone_init(&shm_zone, NULL);
    ngx_commerce_zone_new_generation(&master);
    zone = worker(10, getpid());
    pool.block = NULL;

    for (i = 0; i < (int) sizeof(alphabet); i++) {
        alphabet[i] = 'a' + i % 26;
    }

    memset(long_key, 'k', sizeof(long_key));
    key.data = long_key;
    key.len = 512;
    body.data = (u_char *) "body";
    body.len = 4;

    stamp = ngx_commerce_cache_stamp(&zone);
    ok(ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag)
       == NGX_DECLINED, "the cache starts empty");
    ngx_commerce_cache_put(&zone, &key, &body, 3, stamp);
    ok(ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag) == NGX_OK
       && got.len == 4 && memcmp(got.data, "body", 4) == 0 && tag == 3,
       "an answer is kept");

    body.len = 0;
    ngx_commerce_cache_put(&zone, &key, &body, 4, stamp);
    ngx_commerce_cache_stats(&zone, &stats);
    ok(ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag) == NGX_OK
       && got.len == 0 && tag == 4 && stats.entries == 1,
       "an empty one replaces it");

    ngx_commerce_cache_forget_all(&zone);
    ok(ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag)
       == NGX_DECLINED, "everything can be forgotten");
    ngx_commerce_cache_put(&zone, &key, &body, 5, stamp);
    ok(ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag)
       == NGX_DECLINED, "what was read before is not stored");

    key.len = 513;
    stamp = ngx_commerce_cache_stamp(&zone);
    ngx_commerce_cache_put(&zone, &key, &body, 5, stamp);
    ok(ngx_commerce_cache_get(&zone, &key, &pool, &got, &tag)
       == NGX_DECLINED, "nor a key that is too long");

    for (i = 0, bad = 0; i < WORKERS; i++) {
        pthread_create(&threads[i], NULL, cacher, (void *) (intptr_t) i);
    }

    for (i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], &result);
        bad |= (result != NULL);
    }

    ngx_commerce_cache_stats(&zone, &stats);
    ok(!bad, "threads read what was put, whole");
    ok(stats.bytes <= stats.capacity && stats.bytes > stats.capacity / 2,
       "old entries made room: %lu entries, %lu of %lu bytes",
       (unsigned long) stats.entries, (unsigned long) stats.bytes,
       (unsigned long) stats.capacity);

    free(pool.block);
}


static void
test_replay(void)
{
    uint32_t              i, marked;
    u_char                text[NGX_COMMERCE_REPLAY_BODY_MAX + 1];
    time_t                until;
    ngx_str_t             body, got;
    ngx_uint_t            status;
    ngx_pool_t            pool;
    commerce_uuid_t       key, print, other, id;
    ngx_commerce_zone_t   a, b;

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ngx_commerce_zone_init(&shm_zone, NULL);
    ngx_commerce_zone_new_generation(&master);
    a = worker(0, getpid());
    b = worker(1, getpid());
    pool.block = NULL;

    key = uuid(1);
    print = uuid(2);
    other = uuid(3);
    until = ngx_time() + 60;
    memset(text, 'x', sizeof(text));
    body.data = text;
    body.len = NGX_COMMERCE_REPLAY_BODY_MAX;

#define begin(zone, print)                                                    \
    ngx_commerce_replay_begin(zone, &key, &print, &pool, &id, &status, &got)

    ok(begin(&a, print) == NGX_COMMERCE_REPLAY_NEW, "a new key is marked");
    ok(begin(&b, print) == NGX_COMMERCE_REPLAY_IN_PROGRESS,
       "it is in progress for others");
    ok(begin(&b, other) == NGX_COMMERCE_REPLAY_REUSED,
       "and cannot be used for something else");
    ngx_commerce_replay_drop(&b, &key);
    ok(begin(&b, print) == NGX_COMMERCE_REPLAY_IN_PROGRESS,
       "nobody drops the mark of another worker");
    ngx_commerce_replay_drop(&a, &key);
    ok(begin(&b, other) == NGX_COMMERCE_REPLAY_NEW, "dropped, it is free");
    ngx_commerce_replay_finish(&b, &key, &other, &print, 201, &body, until);
    ok(begin(&a, other) == NGX_COMMERCE_REPLAY_DONE && status == 201
       && got.len == body.len && memcmp(got.data, text, got.len) == 0
       && memcmp(&id, &print, 16) == 0, "finished, it has the answer");
    ngx_commerce_replay_drop(&b, &key);
    ok(begin(&a, other) == NGX_COMMERCE_REPLAY_DONE,
       "an answer is not dropped");
    ngx_commerce_replay_forget(&a, &key);
    ok(begin(&a, other) == NGX_COMMERCE_REPLAY_NEW, "but forgotten");
    ngx_commerce_replay_forget(&b, &key);
    ngx_commerce_replay_finish(&a, &key, &other, &print, 201, &body, until);
    ok(begin(&a, other) == NGX_COMMERCE_REPLAY_NEW,
       "also when news come before the answer");
    ngx_commerce_replay_forget_all(&b);
    ngx_commerce_replay_finish(&a, &key, &other, &print, 201, &body, until);
    ok(begin(&a, other) == NGX_COMMERCE_REPLAY_NEW, "or news of everything");
    body.len++;
    ngx_commerce_replay_finish(&a, &key, &other, &print, 201, &body, until);
    ok(begin(&a, print) == NGX_COMMERCE_REPLAY_NEW,
       "an answer that is too long drops the mark");
    body.len = 2;
    ngx_commerce_replay_finish(&a, &key, &print, &print, 201, &body, until);
    fake_msec += 61000;
    ok(begin(&b, other) == NGX_COMMERCE_REPLAY_NEW, "an answer has its time");
    ngx_commerce_zone_worker_stop(&b);
    ok(begin(&a, print) == NGX_COMMERCE_REPLAY_NEW,
       "a mark falls with its worker");

    until = ngx_time() + 60;

    for (i = 0, marked = 0; i < a.sh->replays.sets * 24; i++) {
        key = uuid(1000 + i);

        if (begin(&a, print) == NGX_COMMERCE_REPLAY_NEW) {
            marked++;
        }
    }

    ok(marked <= a.sh->replays.sets * 8
       && marked > a.sh->replays.sets * 7,
       "marks are never driven out: %u of %u", marked,
       a.sh->replays.sets * 8);

    for (i = 0; i < a.sh->replays.sets * 24; i++) {
        key = uuid(1000 + i);
        ngx_commerce_replay_finish(&a, &key, &print, &print, 200, &body,
                                   until);
    }

    ok(begin(&a, print) == NGX_COMMERCE_REPLAY_DONE,
       "the last answer drives out an old one");

    free(pool.block);
}


static void
test_counters(void)
{
    int                       i;
    ngx_commerce_zone_t       a, b;
    ngx_commerce_snapshot_t  *s;

    zone_up(NGX_COMMERCE_ZONE_MIN);
    ngx_commerce_zone_init(&shm_zone, NULL);
    ngx_commerce_zone_new_generation(&master);
    a = worker(0, getpid());
    b = worker(1, getpid());
    s = malloc(sizeof(*s));

    for (i = 0; i < 10; i++) {
        ngx_commerce_count(i % 2 ? &a : &b, NGX_COMMERCE_C_ORDERS, 10);
        fake_msec += 1000;
    }

    ngx_commerce_count_request(&a, NGX_COMMERCE_OP_ORDER_CREATE,
                               COMMERCE_OUT_OF_STOCK);
    ngx_commerce_count_request(&b, NGX_COMMERCE_OP_ORDER_CREATE,
                               COMMERCE_OUT_OF_STOCK);
    ngx_commerce_observe_order(&a, 500);
    ngx_commerce_observe_order(&b, 501);
    ngx_commerce_observe_order(&b, 99000000);
    ngx_commerce_set_gauge(&a, NGX_COMMERCE_G_LIMBO_UNITS, 4);
    ngx_commerce_set_worker_gauge(&a, NGX_COMMERCE_W_QUEUE, 2);
    ngx_commerce_set_worker_gauge(&b, NGX_COMMERCE_W_QUEUE, 3);

    ngx_commerce_counters_read(&b, s);

    ok(s->counters[NGX_COMMERCE_C_ORDERS] == 100, "counters are summed");
    ok(s->orders_per_second > 9.9 && s->orders_per_second < 10.1,
       "10 orders per second");
    ok(s->requests[NGX_COMMERCE_OP_ORDER_CREATE][COMMERCE_OUT_OF_STOCK] == 2,
       "requests by operation and problem");
    ok(s->latency[0] == 1 && s->latency[1] == 1
       && s->latency[NGX_COMMERCE_LATENCY_BUCKETS - 1] == 1
       && s->latency_sum == 99001001, "latencies fall into their buckets");
    ok(s->gauges[NGX_COMMERCE_G_LIMBO_UNITS] == 4
       && s->worker_gauges[NGX_COMMERCE_W_QUEUE] == 5, "gauges are there");

    ngx_commerce_zone_worker_stop(&a);
    ngx_commerce_counters_read(&b, s);
    ok(s->worker_gauges[NGX_COMMERCE_W_QUEUE] == 3,
       "a worker's gauges go with it");

    free(s);
}


/* With an argument only what has threads. */

int
main(int argc, char **argv)
{
    (void) argv;

    if (argc == 1) {
        test_zone();
        test_variants();
        test_pool();
        test_replay();
        test_counters();
    }

    test_threads(0);
    test_threads(1);
    test_cache();

    free(arena);
    free(slab);

    printf("1..%d\n", tests);

    return failed != 0;
}

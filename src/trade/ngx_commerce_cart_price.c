/*
 * What a cart's lines cost: prices alone, until there are rules of tax and
 * shipping.
 */

#include "ngx_commerce_cart_view.h"


ngx_commerce_quote_e
ngx_commerce_cart_price(ngx_commerce_trade_t *trade,
    ngx_commerce_quote_t *quote)
{
    ngx_uint_t              i;
    commerce_price_line_t  *line;

    (void) trade;

    for (i = 0; i < quote->nlines; i++) {
        line = &quote->lines[i];
        line->unit_price = ngx_commerce_stock_item_price(quote->items[i],
                                                         line->quantity);

        if (commerce_money_multiply(&line->total, line->unit_price,
                                    line->quantity)
            != COMMERCE_OK
            || commerce_money_add(&quote->price.subtotal,
                                  quote->price.subtotal, line->total)
               != COMMERCE_OK)
        {
            return NGX_COMMERCE_QUOTE_OVERFLOW;
        }
    }

    quote->price.total = quote->price.subtotal;

    return NGX_COMMERCE_QUOTE_OK;
}

"""`liveshelf storefront`: a shop's page on this machine, whose lists change while one clicks.

`serve` starts, `guard` lets in only the page's own browser, `app` answers, `live` sends what changes, `lists` reads it,
`catalogue` knows the items, `panel` does what the shop's people do. The page is `page.html`, a style sheet
and scripts.
"""

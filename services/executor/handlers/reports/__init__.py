"""How a report comes about: a span of time, numbers of it, a `Report` of them, and a file in some format.

```
 periods ─▶ executions │ records ─▶ Report (report.py) ─▶ writers/ pdf html csv xlsx json ─▶ bytes
```
Each of the five writers shows one and the same value, so what a PDF says a spreadsheet says too.
"""

library(testthat)
library(grouphead)

test_check("grouphead")

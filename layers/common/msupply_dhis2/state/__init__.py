"""What is remembered between invocations.

=========================  ============================================  =========================  ==========
row                        what it says                                  written and read by        kept for
=========================  ============================================  =========================  ==========
stack's table
  invocation#ID            when an invocation first arrived              compute                    7 days
  shard#KEY                a step of a shard is worked, or finished      compute                    15 days
  in-flight                what is being sent to DHIS2 now               push                       1 day
  connection#URL           the last successful connection of each user,  push, connection test      for good
                           and how many values a call may hold
  breaker                  may values be sent; which logins are refused  push, connection test      for good
  watchdog                 since when which schedule is looked after     watchdog                   for good
table of runs
  RUN, run                 a run: what it is about, its counts, its end  all                        400 days
  RUN, part#ID             a part that compute works: 3/46/2026-01       compute                    400 days
  RUN, batch#ID#ATTEMPT    how far a message is, why it is a dead        push; compute, watchdog    120 days
                           letter; without a run "unreadable"
table of the ordering
  PERIOD, ORG UNIT         the latest revision of each value             compute; push              120 days
  newest, PERIOD           the latest revision of all                    compute; push              120 days
table of the delta
  TARGET#PERIOD, ORG UNIT  what DHIS2 holds of each value                compute; push invalidates  400 days
  ADDRESS, PERIOD          how places are named; invalid until           compute                    400 days
bucket
  runs/                    what DHIS2 refused, as files                  push, compute, watchdog    400 days
  exports/                 values, the mapping, what DHIS2 holds         compute, connection test   7 days
=========================  ============================================  =========================  ==========
"""

-- Views, foreign keys and publications that are bound to tables of schema $1 and aren't of it.
select distinct
    case
        when pg_depend.classid = 'pg_rewrite'::regclass
            then 'view ' || (select ev_class::regclass::text from pg_rewrite where oid = pg_depend.objid)
        else pg_describe_object(pg_depend.classid, pg_depend.objid, pg_depend.objsubid)
    end as dependent
from pg_depend
join pg_class as tables on tables.oid = pg_depend.refobjid and pg_depend.refclassid = 'pg_class'::regclass
where
    tables.relnamespace = $1::regnamespace
    and (
        pg_depend.classid in ('pg_rewrite'::regclass, 'pg_publication_rel'::regclass)
        or (
            pg_depend.classid = 'pg_constraint'::regclass
            and exists (
                select from pg_constraint
                where oid = pg_depend.objid and contype = 'f' and connamespace <> $1::regnamespace
            )
        )
    )
order by dependent

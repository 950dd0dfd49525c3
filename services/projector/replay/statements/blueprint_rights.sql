-- Whose schema $1 and its tables are, if not the session's own user's, and who else may do what: kind, name, owner, and
-- where that is null grantee, privilege, whether it may be passed on.
with things as (
    select 'schema' as kind, null::text as name, nspowner as owner, nspacl as acl
    from pg_namespace
    where nspname = $1::text
    union all
    select 'table', quote_ident(relname), relowner, relacl
    from pg_class
    where relnamespace = $1::text::regnamespace and relkind in ('r', 'p')
)
select kind, name, quote_ident(pg_get_userbyid(owner)) as owner, null as grantee, null as privilege, null as grantable
from things
where pg_get_userbyid(owner) <> current_user
union all
select
    kind, name, null, case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end, privilege_type,
    is_grantable
from things, aclexplode(acl)
where grantee <> things.owner

// The canonical that the product has: our migrations on a real PostgreSQL, but for the clock.

#include <libpq-fe.h>

#include <algorithm>
#include <stdexcept>

#include "sim/half.hpp"

namespace tally::sim {
namespace {

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

Connection connect(const std::string& conninfo) {
  Connection connection(PQconnectdb(conninfo.c_str()), &PQfinish);
  if (PQstatus(connection.get()) != CONNECTION_OK)
    throw std::runtime_error(PQerrorMessage(connection.get()));
  PQsetNoticeProcessor(
      connection.get(), [](void*, const char*) {}, nullptr);
  return connection;
}

sync::Rows ask(PGconn* connection, const std::string& sql) {
  sync::Rows rows(PQexec(connection, sql.c_str()));
  if (PQstatus(connection) != CONNECTION_OK || *PQerrorMessage(connection) != '\0')
    throw std::runtime_error(sql + ": " + PQerrorMessage(connection));
  return rows;
}

template <class T>
T got(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().detail);
  return std::move(result).value();
}

/// What was there under that name is gone. Nobody may have the other one open.
void copy_database(const std::string& server, const std::string& from, const std::string& to) {
  const auto connection = connect(server + " dbname=postgres");
  ask(connection.get(), "drop database if exists " + to);
  ask(connection.get(), "create database " + to + " template " + from);
}

Uuid id_at(const sync::Rows& rows, int row, int column) {
  return Uuid::parse(rows.text(row, column)).value();
}
std::int64_t number_at(const sync::Rows& rows, int row, int column) {
  return std::stoll(std::string(rows.text(row, column)));
}

constexpr const char* world = "sim_world";

class PostgresHalf : public Half {
 public:
  explicit PostgresHalf(std::string server) : server_(std::move(server)) { open(); }

  void set_clock(Timestamp now) override {
    ask(opened_->connection.get(), "update still.world set at = '" + now.text() + "'");
  }

  sync::Answer sync(const sync::Call& call) override {
    const auto parameters = sync::parameters_of(call);
    const sync::BoundParameters bound(parameters);
    PGresult* result = PQexecParams(opened_->connection.get(), sync::sync_statement, bound.count(),
                                    nullptr, bound.values(), bound.lengths(), bound.formats(), 0);
    const sync::Rows rows(result);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
      throw std::runtime_error(PQresultErrorMessage(result));
    return sync::read_answer(rows, call.push);
  }

  bool apply(const std::string& line) override {
    const std::vector<std::string> lines{line};
    return got(opened_->canonical.apply(lines)).front().code == Code::ok;
  }

  sync::DeviceToken add_device(const sync::NewDevice& device) override {
    return got(opened_->canonical.add_device(device));
  }
  void revoke_device(const Uuid& device_id) override {
    (void)opened_->canonical.revoke_device(device_id);
  }
  void write_off(const Uuid& lease_id) override { (void)opened_->canonical.write_off(lease_id); }

  std::vector<Row> rows(const std::string& table, const Uuid& user_id) override {
    auto rows = got(opened_->canonical.rows(table, user_id));
    constexpr std::size_t seq = 9;
    if (table == "credit_ledger") {
      std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
        return std::stoll(*a[seq]) < std::stoll(*b[seq]);
      });
    }
    return rows;
  }
  std::vector<TableDigest> digest(const Uuid& user_id) override {
    return got(opened_->canonical.digest(user_id));
  }

  std::vector<Lease> open_leases() override {
    const auto rows = ask(opened_->connection.get(),
                          "select lease_id, user_id, device_id, unspent from tally_sync.leases "
                          "where closed_at is null order by lease_id");
    std::vector<Lease> leases;
    for (int row = 0; row < rows.count(); ++row)
      leases.push_back(
          {id_at(rows, row, 0), id_at(rows, row, 1), id_at(rows, row, 2), number_at(rows, row, 3)});
    return leases;
  }

  std::vector<Account> accounts() override {
    const auto rows =
        ask(opened_->connection.get(),
            "select a.user_id, a.balance, "
            "(select coalesce(sum(s.hold), 0) from tally.job_state s where s.user_id = a.user_id), "
            "(select coalesce(sum(l.unspent), 0) from tally_sync.leases l "
            "where l.user_id = a.user_id and l.closed_at is null) "
            "from tally.accounts a order by a.user_id");
    std::vector<Account> accounts;
    for (int row = 0; row < rows.count(); ++row)
      accounts.push_back({id_at(rows, row, 0), number_at(rows, row, 1), number_at(rows, row, 2),
                          number_at(rows, row, 3)});
    return accounts;
  }

  /// The latest one only.
  std::shared_ptr<const void> backup() override {
    opened_.reset();
    copy_database(server_, world, "sim_backup");
    open();
    return std::make_shared<const std::string>("sim_backup");
  }
  void restore(const std::shared_ptr<const void>& backup) override {
    opened_.reset();
    copy_database(server_, *static_cast<const std::string*>(backup.get()), world);
    open();
    // As the model does: other ids than those that were made since the backup.
    ask(opened_->connection.get(),
        "do $$ begin execute regexp_replace(pg_get_functiondef('still.next_id'::regproc), "
        "'''[0-9]+ ''', '''" +
            std::to_string(++restored_) + " '''); end $$; update still.world set ids = 0");
  }

 private:
  struct Opened {
    Connection connection;
    sync::Canonical canonical;
  };
  void open() {
    const std::string conninfo = server_ + " dbname=" + world;
    opened_.emplace(Opened{connect(conninfo), got(sync::Canonical::connect(conninfo))});
  }

  std::string server_;
  std::optional<Opened> opened_;  ///< Not while the database is copied.
  int restored_ = 0;
};

}  // namespace

PostgresWorlds::PostgresWorlds(std::string conninfo, const std::string& clock_sql)
    : conninfo_(std::move(conninfo)) {
  const auto server = connect(conninfo_ + " dbname=postgres");
  ask(server.get(), "create database sim_template");
  {
    auto canonical = got(sync::Canonical::connect(conninfo_ + " dbname=sim_template"));
    got(canonical.migrate({.shim = true}));
  }
  ask(connect(conninfo_ + " dbname=sim_template").get(), clock_sql);
}

std::unique_ptr<Half> PostgresWorlds::make() {
  copy_database(conninfo_, "sim_template", world);
  return std::make_unique<PostgresHalf>(conninfo_);
}

}  // namespace tally::sim
